# The two kinds of things that are built: rooms (static libraries) and programs; and the flags of both.
add_library(quarry_flags INTERFACE)
target_include_directories(quarry_flags INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
target_compile_definitions(quarry_flags INTERFACE _GNU_SOURCE)
target_compile_options(quarry_flags INTERFACE
    -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes
    -Wpointer-arith -Wcast-align -Wwrite-strings -Wundef -Wvla -Wformat=2 -Wimplicit-fallthrough
    -Werror -fno-omit-frame-pointer -fno-common -fstack-protector-strong)
if(QUARRY_SANITIZE)
    # gcc sees conversions in its own instrumentation; the other presets keep the warning.
    target_compile_options(quarry_flags INTERFACE -fsanitize=${QUARRY_SANITIZE} -fno-sanitize-recover=all
                           -Wno-conversion)
    target_link_options(quarry_flags INTERFACE -fsanitize=${QUARRY_SANITIZE})
endif()

# The commit is known at configure time only, or told by -DQUARRY_COMMIT; a build from a tarball says "unknown".
if(NOT QUARRY_COMMIT)
    execute_process(COMMAND git -C ${CMAKE_SOURCE_DIR} rev-parse --short=12 HEAD
                    OUTPUT_VARIABLE QUARRY_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT QUARRY_COMMIT)
    set(QUARRY_COMMIT unknown)
endif()
configure_file(${CMAKE_SOURCE_DIR}/cmake/version.h.in ${CMAKE_BINARY_DIR}/generated/quarry_version.h)

# quarry_room(path [DEPS room...] [LIBS target...]): the library of one folder; target name has _ for /.
function(quarry_room path)
    cmake_parse_arguments(R "" "" "DEPS;LIBS" ${ARGN})
    string(REPLACE "/" "_" target ${path})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${path}/*.c)
    add_library(${target} STATIC ${sources})
    target_link_libraries(${target} PUBLIC quarry_flags)
    foreach(dep ${R_DEPS})
        string(REPLACE "/" "_" dep_target ${dep})
        target_link_libraries(${target} PUBLIC ${dep_target})
    endforeach()
    target_link_libraries(${target} PUBLIC ${R_LIBS})
endfunction()

# quarry_program(name folder [DEPS room...]): an executable from all .c files of a folder.
function(quarry_program name path)
    cmake_parse_arguments(P "" "" "DEPS" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${path}/*.c)
    if(NOT sources)
        return()
    endif()
    add_executable(${name} ${sources})
    foreach(dep ${P_DEPS})
        string(REPLACE "/" "_" dep_target ${dep})
        target_link_libraries(${name} PRIVATE ${dep_target})
    endforeach()
endfunction()
