/*
 * Runs in the guest: an open-loop service whose memory has a hot, a warm and a cold part, and changes its mind once.
 *
 *   workload HOT WARM COLD WARM_SECONDS RATE SEED FLIP_MIB READY FLIP OUT FILE_MIB FILE HUGE FILLED
 *
 * MiB of each part; the mean time between two uses of a warm page; operations per second; how much of the cold part
 * takes the place of as much of the hot part once the file FLIP is there. READY is made when all memory is. On SIGTERM
 * the latencies are written to OUT as JSON, in microseconds, before and after the change.
 *
 * FILE is made with FILE_MIB; a page of its first quarter is read with every operation. HUGE is 1 for memory in huge
 * pages, FILLED the bytes of each page that are not zeros.
 *
 * Open loop: an operation begins when it is due, whether or not the one before is over, so its latency counts the time
 * it waited for others, as a user's request would.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, TOUCHES = 8, BUCKETS = 8192, FINENESS = 256, PHASES = 2 };
#define MIB ((size_t)1 << 20)

struct latencies {
	uint64_t buckets[BUCKETS], count;
	double sum, worst;
};

static volatile sig_atomic_t ended;
static uint64_t state;

static void end(int number) { (void)number; ended = 1; }

static uint64_t next(void)
{
	/* splitmix64 */
	uint64_t z = (state += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static unsigned char *part(size_t mib, int huge, size_t filled)
{
	size_t size = mib * MIB;
	if (!size)
		return NULL;
	unsigned char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || madvise(memory, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE)) {
		perror("workload: memory");
		exit(1);
	}
	/* Pages that are alike need no room on a compressing device. */
	for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
		uint64_t word = at % PAGE < filled ? next() : 0;
		memcpy(memory + at, &word, sizeof word);
	}
	return memory;
}

/* A file with that much in the page cache, all of it read once. */
static int cached(const char *path, size_t mib)
{
	static uint64_t block[PAGE / sizeof(uint64_t)];
	int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (size_t page = 0; file >= 0 && page < mib * MIB / PAGE; page++) {
		block[0] = next();
		if (write(file, block, PAGE) != PAGE) {
			close(file);
			file = -1;
		}
	}
	/* Dirty pages cannot go. */
	if (file < 0 || fsync(file)) {
		perror("workload: FILE");
		exit(1);
	}
	return file;
}

static void note(struct latencies *to, double microseconds)
{
	/* So many buckets to every doubling: within 0.3 %. */
	int at = microseconds < 1 ? 0 : (int)(FINENESS * log2(microseconds));
	to->buckets[at < BUCKETS ? at : BUCKETS - 1]++;
	to->count++;
	to->sum += microseconds;
	if (microseconds > to->worst)
		to->worst = microseconds;
}

static double quantile(const struct latencies *of, double share)
{
	uint64_t seen = 0;
	for (int at = 0; at < BUCKETS; at++) {
		seen += of->buckets[at];
		if (seen && (double)seen >= share * (double)of->count)
			return exp2((at + 1) / (double)FINENESS);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 15) {
		fputs("usage: workload HOT WARM COLD WARM_SECONDS RATE SEED FLIP_MIB READY FLIP OUT FILE_MIB FILE HUGE FILLED\n",
			stderr);
		return 2;
	}
	size_t hot_pages = strtoul(argv[1], NULL, 10) * MIB / PAGE, warm_pages = strtoul(argv[2], NULL, 10) * MIB / PAGE;
	size_t flip_pages = strtoul(argv[7], NULL, 10) * MIB / PAGE;
	double warm_seconds = strtod(argv[4], NULL), rate = strtod(argv[5], NULL);
	state = strtoull(argv[6], NULL, 10);
	signal(SIGTERM, end);

	int huge = *argv[13] == '1';
	size_t filled = strtoul(argv[14], NULL, 10), file_mib = strtoul(argv[11], NULL, 10);
	unsigned char *hot = part(strtoul(argv[1], NULL, 10), huge, filled);
	unsigned char *warm = part(strtoul(argv[2], NULL, 10), huge, filled);
	unsigned char *cold = part(strtoul(argv[3], NULL, 10), huge, filled);
	size_t file_pages = file_mib * MIB / PAGE / 4;
	int file = file_pages ? cached(argv[12], file_mib) : -1;
	fclose(fopen(argv[8], "w"));

	static struct latencies found[PHASES];
	volatile unsigned char sink = 0;
	/* The expected number of warm pages of one operation; it is often less than one. */
	double warm_touches = warm_pages ? (double)warm_pages / warm_seconds / rate : 0, owed = 0, looked = 0;
	int phase = 0;
	double due = now();
	while (!ended) {
		due += 1 / rate;
		double before = now();
		if (due > before) {
			struct timespec until = {(time_t)due, (long)((due - floor(due)) * 1e9)};
			if (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL))
				continue;
		}
		if (!phase && flip_pages && due - looked > 0.5) {
			looked = due;
			phase = !access(argv[9], F_OK);
		}
		for (int touch = 0; touch < TOUCHES; touch++) {
			size_t page = next() % hot_pages;
			/* After the change the first pages of the cold part are used, and those of the hot part no more. */
			unsigned char *base = phase && page < flip_pages ? cold : hot;
			sink ^= base[page * PAGE]++;
		}
		if (file_pages) {
			unsigned char page[PAGE];
			if (pread(file, page, PAGE, (off_t)(next() % file_pages * PAGE)) != PAGE) {
				perror("workload: FILE");
				return 1;
			}
			sink ^= page[0];
		}
		for (owed += warm_touches; owed >= 1; owed--)
			sink ^= warm[next() % warm_pages * PAGE]++;
		note(&found[phase], (now() - due) * 1e6);
	}

	FILE *out = fopen(argv[10], "w");
	if (!out) {
		perror("workload: OUT");
		return 1;
	}
	fputc('[', out);
	for (int at = 0; at < PHASES; at++) {
		const struct latencies *each = &found[at];
		fprintf(out, "%s{\"count\": %llu, \"mean\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"worst\": %.1f}",
			at ? ", " : "", (unsigned long long)each->count, each->count ? each->sum / (double)each->count : 0,
			quantile(each, 0.99), quantile(each, 0.999), each->worst);
	}
	fputs("]\n", out);
	return fclose(out) ? 1 : 0;
}
