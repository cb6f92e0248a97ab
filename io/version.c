/* What --version says of every program. */
#include <jansson.h>
#include <openssl/crypto.h>

#include "io/io.h"

#include "hashing/kernels/kernels.h"
#include "quarry_version.h"

void version_print(FILE *out, const char *program)
{
    fprintf(out, "%s %s (commit %s)\n", program, QUARRY_VERSION, QUARRY_COMMIT);
    fprintf(out, "hash kernel: %s", sha256_kernel_in_use()->name);
    for (size_t i = 0; sha256_kernels[i]; i++) {
        fprintf(out, "%s%s", i ? ", " : " of ", sha256_kernels[i]->name);
    }
    fprintf(out, "\nlibraries: %s, %s, jansson %s\n", OpenSSL_version(OPENSSL_VERSION), QUARRY_LIBRARIES,
            jansson_version_str());
}
