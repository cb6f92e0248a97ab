/* The page at / and its files, which are part of the program: nothing is read from disk, nothing comes from
 * elsewhere. */
#include "api/api_private.h"

#define EMBED(symbol, file)                                                                                  \
    __asm__(".section .rodata\n.global " #symbol "\n" #symbol ":\n.incbin \"" QUARRY_WEB "/" file            \
            "\"\n.global " #symbol "_end\n" #symbol "_end:\n.byte 0\n.previous\n");                          \
    extern const char symbol[], symbol##_end[]

EMBED(web_index, "index.html");
EMBED(web_script, "app.js");
EMBED(web_style, "style.css");

static const char policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                             "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

HANDLER(show_page)
{
    const struct {
        const char *name, *type, *begin, *end;
    } files[] = {{"", "text/html; charset=utf-8", web_index, web_index_end},
                 {"app.js", "text/javascript; charset=utf-8", web_script, web_script_end},
                 {"style.css", "text/css; charset=utf-8", web_style, web_style_end}};
    for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
        if (strcmp(x->param, files[i].name) == 0) {
            add_header(x->req, "content-security-policy", policy);
            set_etag(x, files[i].begin, (size_t)(files[i].end - files[i].begin));
            reply_text(x, 200, files[i].type, files[i].begin, (size_t)(files[i].end - files[i].begin));
            return;
        }
    }
    reply_error(x, 404, "not_found", "There is nothing at this path.");
}
