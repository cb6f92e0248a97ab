/* What this CPU can do, asked of the CPU itself and, for wide registers, of the operating system (XCR0). */
#include "hashing/kernels/private.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdatomic.h>

#define XCR0_AVX    0x06u /* xmm, ymm */
#define XCR0_AVX512 0xe6u /* and the mask registers, the upper halves, zmm16..31 */

static bool leaf7(unsigned *b)
{
    unsigned a, c, d;
    return __get_cpuid_count(7, 0, &a, b, &c, &d);
}

/* Are these registers saved and restored for us? */
static bool os_keeps(unsigned state)
{
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) {
        return false;
    }
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & state) == state;
}

static bool ask_for_shani(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1)) {
        return false;
    }
    return leaf7(&b) && (b & bit_SHA);
}

/* Asked with every few hashes, and CPUID leaves a virtual machine each time, at the price of many of them. */
bool cpu_has_shani(void)
{
    enum { UNKNOWN, NO, YES };
    static _Atomic int known;
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (answer == UNKNOWN) {
        answer = ask_for_shani() ? YES : NO;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == YES;
}

bool cpu_has_avx2(void)
{
    unsigned b;
    return os_keeps(XCR0_AVX) && leaf7(&b) && (b & bit_AVX2);
}

bool cpu_has_avx512(void)
{
    unsigned b;
    return os_keeps(XCR0_AVX512) && leaf7(&b) && (b & bit_AVX512F) && (b & bit_AVX512BW);
}

#else

bool cpu_has_shani(void)
{
    return false;
}

bool cpu_has_avx2(void)
{
    return false;
}

bool cpu_has_avx512(void)
{
    return false;
}

#endif

#if defined(__aarch64__)
#include <sys/auxv.h>

#define HWCAP_SHA2_BIT (1ul << 6)

bool cpu_has_armv8(void)
{
    return getauxval(AT_HWCAP) & HWCAP_SHA2_BIT;
}

#else

bool cpu_has_armv8(void)
{
    return false;
}

#endif
