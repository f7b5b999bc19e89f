#include "run/share.h"

#include <string.h>

#include "base/mem.h"

int sq_share_rank(const sq_comm *comm)
{
    return comm ? sq_comm_rank(comm) : 0;
}

sq_status sq_share_agree(const sq_comm *comm, sq_status mine)
{
    return comm ? sq_comm_agree(comm, mine) : mine;
}

sq_status sq_share_bytes(const sq_comm *comm, void **data, size_t *size)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    if (!comm)
        return SQ_OK;
    SQ_TRY(sq_comm_broadcast(comm, 0, size, sizeof *size));
    if (sq_comm_rank(comm) > 0)
        mine = sq_alloc(data, *size, 1, "what rank 0 has read");
    SQ_TRY(sq_comm_agree(comm, mine));
    SQ_TRY(sq_comm_broadcast(comm, 0, *data, *size));
cleanup:
    return rc;
}

static sq_status share_file(const sq_comm *comm, sq_files *files, int i)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    void *path = NULL, *data = NULL;
    size_t length = 0, size = 0;
    int root = sq_comm_rank(comm) == 0;
    if (root) {
        const void *bytes;
        path = (void *)sq_files_at(files, i, &bytes, &size);
        data = (void *)bytes;
        length = strlen(path) + 1;
    }
    SQ_TRY(sq_share_bytes(comm, &path, &length));
    SQ_TRY(sq_share_bytes(comm, &data, &size));
    if (!root)
        mine = sq_files_put(files, path, data, size);
    SQ_TRY(sq_comm_agree(comm, mine));
cleanup:
    if (!root) {
        sq_free(path);
        sq_free(data);
    }
    return rc;
}

sq_status sq_share_files(const sq_comm *comm, sq_files *files)
{
    sq_status rc = SQ_OK;
    int count = sq_files_count(files);
    if (!comm)
        return SQ_OK;
    SQ_TRY(sq_comm_broadcast(comm, 0, &count, sizeof count));
    for (int i = 0; i < count; i++)
        SQ_TRY(share_file(comm, files, i));
cleanup:
    return rc;
}

static sq_status share_piece(const sq_comm *comm, sq_tile_list *list, int i)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    void *data = NULL;
    size_t size = 0;
    int root = sq_comm_rank(comm) == 0;
    if (root) {
        const void *bytes;
        sq_tile_list_piece(list, i, &bytes, &size);
        data = (void *)bytes;
    }
    SQ_TRY(sq_share_bytes(comm, &data, &size));
    if (!root)
        mine = sq_tile_list_put_piece(list, i, data, size);
    data = NULL;
    SQ_TRY(sq_comm_agree(comm, mine));
cleanup:
    if (!root)
        sq_free(data);
    return rc;
}

sq_status sq_share_tiles(const sq_comm *comm, sq_tile_list **list)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    sq_tile_list *made = NULL;
    int pieces = 0, root = sq_share_rank(comm) == 0;
    if (!comm)
        return SQ_OK;
    if (root)
        pieces = sq_tile_list_pieces(*list);
    else
        mine = sq_tile_list_create(&made);
    SQ_TRY(sq_comm_agree(comm, mine));
    SQ_TRY(sq_comm_broadcast(comm, 0, &pieces, sizeof pieces));
    for (int i = 0; i < pieces; i++)
        SQ_TRY(share_piece(comm, root ? *list : made, i));
    SQ_TRY(sq_comm_agree(comm, root ? SQ_OK : sq_tile_list_open(made)));
    if (!root)
        *list = made;
    made = NULL;
cleanup:
    sq_tile_list_destroy(made);
    return rc;
}
