/* What the node keeps on disk beside the chain, so that it finds its peers again: the address book
 * (peers.dat) and the list of bans (banlist.json, in Bitcoin Core's form). The host gives their bytes with
 * EVENT_START's configuration and writes what ACTION_SAVE hands it. What cannot be read costs a warning and
 * is begun anew. */
#include <jansson.h>

#include "core/node/rpc_private.h"

#define SAVE_EVERY_US INT64_C(900000000)

static void read_ban(struct node *node, json_t *entry)
{
    struct p2p_ban_info ban = {0};
    const char *subnet = json_string_value(json_object_get(entry, "address"));
    json_t *created = json_object_get(entry, "ban_created"), *until = json_object_get(entry, "banned_until");
    if (subnet && json_is_integer(created) && json_is_integer(until)) {
        snprintf(ban.subnet, sizeof ban.subnet, "%.63s", subnet);
        ban.created_unix_s = json_integer_value(created);
        ban.until_unix_s = json_integer_value(until);
    }
    if (!*ban.subnet || !p2p_restore_ban(node->p2p, &ban)) {
        log_warn(LOG_NET, "banlist.json: an entry that is not understood, or too many");
    }
}

static void read_bans(struct node *node, struct span file)
{
    json_t *json = json_loadb((const char *)file.data, file.len, 0, NULL);
    json_t *list = json_object_get(json, "banned_nets"), *entry;
    size_t index;
    if (!json_is_array(list)) {
        log_warn(LOG_NET, "banlist.json cannot be read: nobody is banned");
    }
    json_array_foreach(list, index, entry)
    {
        read_ban(node, entry);
    }
    json_decref(json);
}

void saved_restore(struct node *node)
{
    const struct node_config *config = &node->config;
    if (config->peers_file.len && !p2p_load_addresses(node->p2p, config->peers_file, node->now)) {
        log_warn(LOG_NET, "peers.dat is damaged or of another network: the address book begins empty");
    }
    if (config->bans_file.len) {
        read_bans(node, config->bans_file);
    }
    node->peers_saved_us = node->now.mono_us;
}

static void save(struct node *node, const char *name, struct buf *bytes)
{
    struct action *action = node_push(node, ACTION_SAVE);
    action->text = mem_strdup(name);
    action->bytes = *bytes;
}

void saved_bans(struct node *node)
{
    struct p2p_ban_info *bans = mem_alloc(P2P_BANS_MAX * sizeof *bans);
    size_t count = p2p_bans(node->p2p, bans, P2P_BANS_MAX, node->now);
    struct buf out = {0};
    put_open(&out, NULL, '{');
    put_open(&out, "banned_nets", '[');
    for (size_t i = 0; i < count; i++) {
        put_open(&out, NULL, '{');
        put_int(&out, "version", 1);
        put_int(&out, "ban_created", bans[i].created_unix_s);
        put_int(&out, "banned_until", bans[i].until_unix_s);
        put_text(&out, "address", bans[i].subnet);
        put_close(&out, '{');
    }
    put_close(&out, '[');
    put_close(&out, '{');
    buf_u8(&out, '\n');
    save(node, "banlist.json", &out);
    mem_free(bans);
}

static void save_peers(struct node *node, bool at_the_end)
{
    struct buf out = {0};
    node->peers_saved_us = node->now.mono_us;
    p2p_save_addresses(node->p2p, at_the_end, &out);
    save(node, "peers.dat", &out);
}

void saved_tick(struct node *node)
{
    if (node->now.mono_us - node->peers_saved_us > SAVE_EVERY_US) {
        save_peers(node, false);
    }
}

void saved_finish(struct node *node)
{
    save_peers(node, true);
}
