#include "cm.h"

#include "base/mem.h"
#include "base/rng.h"
#include "scratch.h"
#include "store/tensor.h"
#include "store/tile_index.h"

enum { TILES = 37 };

static void file_of(sq_rng *rng, sq_file_identity *file, int there)
{
    if (!there)
        return;
    char path[100];
    snprintf(path, sizeof path, "/survey/%u/frame \xc3\xa9-%u.fits", sq_rng_u32(rng) % 9,
             sq_rng_u32(rng));
    ok(sq_strdup(&file->path, path));
    file->size = (int64_t)(sq_rng_u64(rng) >> 20);
    file->mtime = sq_rng_range(rng, 1e9, 2e9);
    snprintf(file->checksum, sizeof file->checksum, "%08x%08x", sq_rng_u32(rng), 7u);
    snprintf(file->datasum, sizeof file->datasum, "%u", sq_rng_u32(rng));
}

static sq_tile *survey(void)
{
    sq_tile *tile;
    ok(SQ_ALLOC(tile, TILES, "tiles"));
    for (int t = 0; t < TILES; t++) {
        sq_rng rng;
        sq_rng_init(&rng, 3, 0, (uint64_t)t);
        snprintf(tile[t].name, sizeof tile[t].name, "%06d-1-%04d", 94, t);
        tile[t].format = (sq_tile_format)(1 + t % 3);
        tile[t].nband = t % (SQ_MAX_BANDS + 1);
        tile[t].reference = tile[t].nband / 2;
        file_of(&rng, &tile[t].psf, t % 2);
        file_of(&rng, &tile[t].calibration, t % 3);
        for (int i = 0; i < 4; i++) {
            tile[t].corner_ra[i] = sq_rng_range(&rng, 0, 360);
            tile[t].corner_dec[i] = sq_rng_range(&rng, -90, 90);
        }
        for (int b = 0; b < tile[t].nband; b++) {
            char cards[200];
            sq_tile_band *band = &tile[t].band[b];
            snprintf(band->name, sizeof band->name, "b%d", b);
            file_of(&rng, &band->image, 1);
            file_of(&rng, &band->mask, b % 2);
            band->nx = 2048 + b;
            band->ny = 1489;
            snprintf(cards, sizeof cards, "CRVAL1  = %f", tile[t].corner_ra[0]);
            if (b != 3)
                ok(sq_strdup(&band->wcs_header, cards));
        }
    }
    return tile;
}

static void clear(sq_tile *tile, int64_t n)
{
    for (int64_t t = 0; t < n; t++)
        sq_tile_clear(&tile[t]);
    sq_free(tile);
}

static sq_tile_list *list_of(const sq_tile *tile, int64_t first, int64_t end)
{
    sq_tile_list *list;
    ok(sq_tile_list_create(&list));
    for (int64_t t = first; t < end; t++)
        ok(sq_tile_list_add(list, &tile[t]));
    ok(sq_tile_list_finish(list));
    return list;
}

static sq_hash hash_of(const sq_tile *tile, int64_t n)
{
    sq_hash hash;
    sq_tile_list *list = list_of(tile, 0, n);
    ok(sq_tile_index_hash(list, &hash));
    sq_tile_list_destroy(list);
    return hash;
}

static sq_status add_to(void *user, const sq_tile *tile)
{
    return sq_tile_list_add(user, tile);
}

static sq_tile_list *read_index(const char *path)
{
    sq_tile_list *list;
    ok(sq_tile_list_create(&list));
    ok(sq_tile_index_read(path, add_to, list));
    ok(sq_tile_list_finish(list));
    return list;
}

static sq_status write_index(const char *path, const sq_tile *tile, int64_t n)
{
    sq_tile_list *list[2] = {list_of(tile, 0, n / 3), list_of(tile, n / 3, n)};
    sq_status rc = sq_tile_index_write(path, (const sq_tile_list *const *)list, 2);
    sq_tile_list_destroy(list[0]);
    sq_tile_list_destroy(list[1]);
    return rc;
}

static void same_file(const sq_file_identity *a, const sq_file_identity *b)
{
    assert_int_equal(a->path == NULL, b->path == NULL);
    if (a->path)
        assert_string_equal(a->path, b->path);
    assert_int_equal(a->size, b->size);
    assert_true(a->mtime == b->mtime);
    assert_string_equal(a->checksum, b->checksum);
    assert_string_equal(a->datasum, b->datasum);
}

static void same_tile(const sq_tile *a, const sq_tile *b)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->format, b->format);
    assert_int_equal(a->nband, b->nband);
    assert_int_equal(a->reference, b->reference);
    assert_memory_equal(a->corner_ra, b->corner_ra, sizeof a->corner_ra);
    assert_memory_equal(a->corner_dec, b->corner_dec, sizeof a->corner_dec);
    same_file(&a->psf, &b->psf);
    same_file(&a->calibration, &b->calibration);
    for (int k = 0; k < a->nband; k++) {
        const sq_tile_band *p = &a->band[k], *q = &b->band[k];
        assert_string_equal(p->name, q->name);
        assert_int_equal(p->nx, q->nx);
        assert_int_equal(p->ny, q->ny);
        same_file(&p->image, &q->image);
        same_file(&p->mask, &q->mask);
        assert_int_equal(p->wcs_header == NULL, q->wcs_header == NULL);
        if (p->wcs_header)
            assert_string_equal(p->wcs_header, q->wcs_header);
    }
}

static void same_tiles(const sq_tile *tile, const sq_tile_list *list, int64_t n)
{
    assert_int_equal(sq_tile_list_count(list), n);
    for (int64_t k = 0; k < n; k++) {
        int64_t t = k * 17 % n, nx, ny; /* in no order */
        sq_tile got;
        ok(sq_tile_list_get(list, t, &got));
        same_tile(&tile[t], &got);
        sq_tile_clear(&got);
        assert_string_equal(sq_tile_list_name(list, t), tile[t].name);
        sq_tile_list_shape(list, t, &nx, &ny);
        assert_int_equal(nx, tile[t].nband ? tile[t].band[tile[t].reference].nx : 0);
    }
}

static void tiles_come_back(void **state)
{
    (void)state;
    sq_tile *tile = survey();
    ok(write_index(scratch("index.h5"), tile, TILES));
    sq_tile_list *back = read_index(scratch("index.h5"));
    same_tiles(tile, back, TILES);
    sq_tile_list_destroy(back);
    /* The same tiles give the same bytes. */
    size_t n1, n2;
    ok(write_index(scratch("again.h5"), tile, TILES));
    unsigned char *one = slurp(scratch("index.h5"), &n1), *two = slurp(scratch("again.h5"), &n2);
    assert_int_equal(n1, n2);
    assert_memory_equal(one, two, n1);
    free(one);
    free(two);
    clear(tile, TILES);
}

/* The identity is of what the tiles are, not of where their files lie. */
static void the_hash_is_of_the_content(void **state)
{
    (void)state;
    sq_tile *tile = survey();
    sq_hash hash = hash_of(tile, TILES);
    tile[5].psf.path[1] = '?';
    tile[5].psf.mtime++;
    assert_true(sq_hash_equal(hash, hash_of(tile, TILES)));
    tile[5].psf.size++;
    assert_false(sq_hash_equal(hash, hash_of(tile, TILES)));
    tile[5].psf.size--;
    assert_true(sq_hash_equal(hash, hash_of(tile, TILES)));
    tile[TILES - 1].name[0] = 'x';
    assert_false(sq_hash_equal(hash, hash_of(tile, TILES)));
    clear(tile, TILES);
}

/* A list of the pieces of another, of which `spoil` (may be NULL) changes one. */
static sq_status copy_list(const sq_tile_list *list, sq_rng *spoil, sq_tile_list **out)
{
    int pieces = sq_tile_list_pieces(list);
    int bad = spoil ? (int)(sq_rng_u32(spoil) % (uint32_t)pieces) : -1;
    ok(sq_tile_list_create(out));
    for (int i = 0; i < pieces; i++) {
        const void *bytes;
        size_t size;
        char *mine;
        sq_tile_list_piece(list, i, &bytes, &size);
        ok(sq_alloc(&mine, size, 1, "copy"));
        memcpy(mine, bytes, size);
        if (i == bad)
            mine[sq_rng_u64(spoil) % size] ^= (char)(1 << sq_rng_u32(spoil) % 8);
        if (i == bad && sq_rng_u32(spoil) % 3 == 0)
            size = sq_rng_u64(spoil) % size;
        ok(sq_tile_list_put_piece(*out, i, mine, size));
    }
    return sq_tile_list_open(*out);
}

/* What one process has packed, another takes over; damage is found or does no harm. */
static void a_list_is_its_pieces(void **state)
{
    (void)state;
    sq_tile *tile = survey(), got;
    sq_tile_list *list = list_of(tile, 0, TILES), *copy;
    sq_rng rng;
    ok(copy_list(list, NULL, &copy));
    same_tiles(tile, copy, TILES);
    sq_tile_list_destroy(copy);
    sq_rng_init(&rng, 5, 0, 0);
    for (int k = 0; k < 3000; k++) {
        if (copy_list(list, &rng, &copy) == SQ_OK) {
            for (int64_t t = 0; t < sq_tile_list_count(copy); t++) {
                if (sq_tile_list_get(copy, t, &got) == SQ_OK)
                    sq_tile_clear(&got);
            }
        }
        sq_tile_list_destroy(copy);
    }
    sq_tile_list_destroy(list);
    clear(tile, TILES);
}

/* More tiles than are in memory at a time, and more in one than a piece of a list holds. */
static void a_long_index(void **state)
{
    (void)state;
    enum { LONG = 2500, CARDS = 3000000 };
    sq_tile *tile = survey(), *many, got;
    sq_rng rng;
    char *cards;
    sq_rng_init(&rng, 9, 0, 0);
    ok(sq_alloc(&cards, CARDS + 1, 1, "cards"));
    for (int i = 0; i < CARDS; i++)
        cards[i] = (char)(' ' + sq_rng_u32(&rng) % 95);
    ok(SQ_ALLOC(many, LONG, "tiles"));
    for (int t = 0; t < LONG; t++) {
        many[t] = tile[t * 7 % TILES];
        snprintf(many[t].name, sizeof many[t].name, "tile %d", t);
    }
    many[1900].band[0].wcs_header = cards;
    ok(write_index(scratch("long.h5"), many, LONG));
    sq_tile_list *list = read_index(scratch("long.h5"));
    assert_int_equal(sq_tile_list_count(list), LONG);
    assert_true(sq_tile_list_pieces(list) > 2);
    for (int t = 0; t < LONG; t++) {
        ok(sq_tile_list_get(list, t, &got));
        same_tile(&many[t], &got);
        sq_tile_clear(&got);
    }
    sq_tile_list_destroy(list);
    sq_free(cards);
    sq_free(many);
    clear(tile, TILES);
}

static void an_empty_survey_is_legal(void **state)
{
    (void)state;
    ok(sq_tile_index_write(scratch("empty.h5"), NULL, 0));
    sq_tile_list *list = read_index(scratch("empty.h5"));
    assert_int_equal(sq_tile_list_count(list), 0);
    sq_tile_list_destroy(list);
}

static sq_status no_tile(void *user, const sq_tile *tile)
{
    (void)user;
    (void)tile;
    return sq_fail(SQ_ERR_STOPPED, "enough");
}

static void other_files_are_refused(void **state)
{
    (void)state;
    sq_tile *tile = survey();
    int64_t n = 1;
    sq_h5 *h5;
    ok(write_index(scratch("one.h5"), tile, TILES));
    assert_int_equal(sq_tile_index_read(scratch("one.h5"), no_tile, NULL), SQ_ERR_STOPPED);
    strcpy(tile[3].name, tile[9].name);
    assert_int_equal(write_index(scratch("two.h5"), tile, TILES), SQ_ERR_USAGE);
    assert_int_equal(sq_tile_index_read(scratch("two.h5"), no_tile, NULL), SQ_ERR_IO);
    clear(tile, TILES);
    spill(scratch("junk.h5"), "not an index", 12);
    assert_int_equal(sq_tile_index_read(scratch("junk.h5"), no_tile, NULL), SQ_ERR_FORMAT);
    ok(sq_h5_create(scratch("other.h5"), &h5));
    ok(sq_h5_append(h5, "x", SQ_I64, 1, &n, &n));
    ok(sq_h5_close(h5));
    assert_int_equal(sq_tile_index_read(scratch("other.h5"), no_tile, NULL), SQ_ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tiles_come_back, scratch_begin, scratch_end),
        cmocka_unit_test(the_hash_is_of_the_content),
        cmocka_unit_test(a_list_is_its_pieces),
        cmocka_unit_test_setup_teardown(a_long_index, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(an_empty_survey_is_legal, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(other_files_are_refused, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
