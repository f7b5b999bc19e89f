#include "cm.h"

#include <dirent.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "scratch.h"
#include "store/shard.h"

enum { RECORDS = 40 };

static size_t payload_of(uint64_t patch, unsigned char *out)
{
    sq_rng rng;
    sq_rng_init(&rng, 7, 1, patch);
    size_t n = patch == 3 ? 0 : sq_rng_u32(&rng) % 300;
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)sq_rng_u32(&rng);
    return n;
}

static sq_record record_of(uint64_t patch)
{
    sq_record r = {.patch = patch, .phase = 2, .realisation = 5, .attempt = 1, .kind = 1};
    r.input = (sq_hash){patch * 3, patch * 5};
    r.seconds[SQ_SECONDS_INFER] = (float)patch / 8;
    r.memory = patch << 20;
    return r;
}

static void write_all(uint64_t rotate, sq_record_place *place)
{
    unsigned char payload[300];
    sq_shard *shard;
    ok(sq_shard_create(scratch_folder, "e1-r0", rotate, &shard));
    for (uint64_t p = 0; p < RECORDS; p++) {
        sq_record record = record_of(p);
        size_t n = payload_of(p, payload);
        ok(sq_shard_append(shard, &record, payload, n, &place[p]));
        assert_true(sq_shard_unflushed(shard) > 0);
        if (p % 7 == 6)
            ok(sq_shard_flush(shard));
    }
    ok(sq_shard_close(shard));
}

static void check(const sq_record *r, uint64_t patch, const void *payload, size_t size)
{
    unsigned char expected[300];
    sq_record e = record_of(patch);
    assert_int_equal(size, payload_of(patch, expected));
    assert_memory_equal(payload, expected, size);
    assert_int_equal(r->patch, patch);
    assert_int_equal(r->phase, e.phase);
    assert_int_equal(r->realisation, e.realisation);
    assert_int_equal(r->kind, e.kind);
    assert_true(sq_hash_equal(r->input, e.input));
    assert_true(r->seconds[SQ_SECONDS_INFER] == e.seconds[SQ_SECONDS_INFER]);
    assert_int_equal(r->memory, e.memory);
}

static void records_come_back(void **state)
{
    (void)state;
    sq_record_place place[RECORDS];
    write_all(2000, place);
    int segments = 0;
    DIR *folder = opendir(scratch_folder);
    for (struct dirent *e; (e = readdir(folder));)
        segments += strstr(e->d_name, ".sqs") != NULL;
    closedir(folder);
    assert_true(segments > 3);
    for (uint64_t p = RECORDS; p-- > 0;) {
        sq_record record;
        void *payload;
        size_t size;
        ok(sq_shard_read(scratch_folder, &place[p], &record, &payload, &size));
        check(&record, p, payload, size);
        sq_free(payload);
        memset(&record, 0, sizeof record);
        ok(sq_shard_read_header(scratch_folder, &place[p], &record));
        assert_int_equal(record.patch, p);
    }
}

typedef struct count {
    uint64_t next;
    uint64_t end; /* of the last record seen */
} count;

static sq_status visit(void *user, const sq_record *record, const sq_record_place *place,
                       const void *payload, size_t size)
{
    count *c = user;
    check(record, c->next++, payload, size);
    c->end = place->offset + place->length;
    return SQ_OK;
}

/* Cut at every byte: what is whole is found, in order, and nothing else. */
static void torn_tails_are_cut(void **state)
{
    (void)state;
    sq_record_place place[RECORDS];
    size_t size;
    write_all(UINT64_MAX, place);
    unsigned char *data = slurp(scratch(place[0].segment), &size);
    assert_non_null(data);
    for (size_t cut = 0; cut <= size; cut++) {
        count c = {0};
        uint64_t good, whole = 0;
        unsigned char *part =
            malloc(cut + 1); /* its own block, so that a sanitizer sees overreads */
        memcpy(part, data, cut);
        while (whole < RECORDS && place[whole].offset + place[whole].length <= cut)
            whole++;
        ok(sq_shard_scan_bytes(part, cut, "x-000001.sqs", visit, &c, &good));
        assert_int_equal(c.next, whole);
        assert_int_equal(good, c.end);
        free(part);
    }
    /* The same through a file, at a few places, with bytes of junk behind the cut. */
    for (size_t cut = 100; cut < size; cut += size / 9) {
        count c = {0};
        uint64_t good, total;
        memset(data + cut, 0xa5, size - cut);
        spill(scratch("y-000001.sqs"), data, size);
        ok(sq_shard_scan(scratch_folder, "y-000001.sqs", visit, &c, &good, &total));
        assert_int_equal(total, size);
        assert_int_equal(good, c.end);
        assert_true(good <= cut);
        free(data);
        data = slurp(scratch(place[0].segment), &size);
    }
    free(data);
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    sq_record_place place[RECORDS];
    size_t size;
    write_all(UINT64_MAX, place);
    const char *path = scratch(place[0].segment);
    unsigned char *data = slurp(path, &size);
    FILE *file = fopen(path, "r+b");
    setvbuf(file, NULL, _IONBF, 0);
    for (int p = 5; p < 9; p++) {
        for (uint64_t i = place[p].offset; i < place[p].offset + place[p].length; i++) {
            sq_record record;
            unsigned char bad = data[i] ^ (unsigned char)(1 << i % 8);
            fseek(file, (long)i, SEEK_SET);
            fwrite(&bad, 1, 1, file);
            assert_int_equal(sq_shard_read(scratch_folder, &place[p], &record, NULL, NULL),
                             SQ_ERR_CORRUPT);
            assert_non_null(strstr(sq_error(), place[p].segment));
            fseek(file, (long)i, SEEK_SET);
            fwrite(data + i, 1, 1, file);
        }
        sq_record record;
        ok(sq_shard_read(scratch_folder, &place[p], &record, NULL, NULL));
    }
    fclose(file);
    free(data);
}

static void wrong_places_are_refused(void **state)
{
    (void)state;
    sq_record_place place[RECORDS], p;
    sq_record record;
    write_all(UINT64_MAX, place);
    p = place[4], p.offset = place[5].offset;
    assert_int_equal(sq_shard_read(scratch_folder, &p, &record, NULL, NULL), SQ_ERR_CORRUPT);
    p = place[4], p.length += 8;
    assert_int_equal(sq_shard_read(scratch_folder, &p, &record, NULL, NULL), SQ_ERR_CORRUPT);
    p = place[4], p.hash.high ^= 1;
    assert_int_equal(sq_shard_read(scratch_folder, &p, &record, NULL, NULL), SQ_ERR_CORRUPT);
    p = place[4], p.offset = 1u << 30;
    assert_int_equal(sq_shard_read(scratch_folder, &p, &record, NULL, NULL), SQ_ERR_CORRUPT);
    p = place[4], strcpy(p.segment, "../passwd");
    assert_int_equal(sq_shard_read(scratch_folder, &p, &record, NULL, NULL), SQ_ERR_CORRUPT);
    p = place[4], strcpy(p.segment, "gone-000001.sqs");
    assert_int_equal(sq_shard_read(scratch_folder, &p, &record, NULL, NULL), SQ_ERR_IO);
    sq_shard *shard;
    assert_int_equal(sq_shard_create(scratch_folder, "a/b", 1, &shard), SQ_ERR_USAGE);
    /* A segment that exists is never written again. */
    unsigned char byte = 0;
    ok(sq_shard_create(scratch_folder, "e1-r0", 1, &shard));
    assert_int_equal(sq_shard_append(shard, &record, &byte, 1, &p), SQ_ERR_IO);
    ok(sq_shard_close(shard));
}

/* A disk that is full in the middle of a record: the error is reported, what was flushed stays
 * readable, and the writer goes on in another segment once there is room. */
static void a_full_disk_is_survived(void **state)
{
    (void)state;
    static unsigned char block[4096];
    sq_record_place place[8], lost;
    sq_record record = record_of(1), back;
    struct rlimit before, small;
    sq_shard *shard;
    memset(block, 7, sizeof block);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 10000;
    ok(sq_shard_create(scratch_folder, "full", UINT64_MAX, &shard));
    ok(sq_shard_append(shard, &record, block, sizeof block, &place[0]));
    ok(sq_shard_append(shard, &record, block, sizeof block, &place[1]));
    ok(sq_shard_flush(shard));
    setrlimit(RLIMIT_FSIZE, &small);
    assert_int_equal(sq_shard_append(shard, &record, block, sizeof block, &lost), SQ_ERR_IO);
    setrlimit(RLIMIT_FSIZE, &before);
    ok(sq_shard_append(shard, &record, block, sizeof block, &place[2]));
    ok(sq_shard_close(shard));
    for (int i = 0; i < 3; i++)
        ok(sq_shard_read(scratch_folder, &place[i], &back, NULL, NULL));
    assert_string_not_equal(place[1].segment, place[2].segment);
    uint64_t good, total;
    ok(sq_shard_scan(scratch_folder, place[0].segment, NULL, NULL, &good, &total));
    assert_int_equal(good, total);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_come_back, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(torn_tails_are_cut, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(every_flipped_bit_is_found, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(wrong_places_are_refused, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(a_full_disk_is_survived, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
