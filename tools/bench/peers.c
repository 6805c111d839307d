/* The bench's load and receiver, in C so that they are not what is measured.

   peers load PORT CONNECTIONS RATE SECONDS PIPELINE
     FC16 writes of 60 registers (120 bytes) over some connections; connection i writes to target i % 64 + 1. RATE is requests
     a second in all, 0 = as fast as answers come; PIPELINE requests are under way on each connection. A string begins with
     the nanosecond clock of the moment when it was written. Prints JSON: answers, exceptions, requests without an answer, milliseconds to the answer.
   peers receive PORT
     An HTTP/1.1 server that answers 200 and notes how old each string is. Requests to /slow are answered after a second.
     GET /stats gives the milliseconds of what came since the last GET /stats.
   peers idle PORT CONNECTIONS SECONDS
     Connections that send nothing.

   One thread, epoll, no allocation while it runs. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TEXT = 120, FRAME = 13 + TEXT, ANSWER = 12, REFUSAL = 9, MOST = 4096, PENDING = 128, SAMPLES = 4000000, ROOM = 65536 };

static float samples[SAMPLES];
static size_t sampled;
static struct connection {
    int fd, used, slow;
    int64_t sent[PENDING], due;
    unsigned first, last;
    uint16_t transaction;
    char in[ROOM];
} *connections;

static int64_t nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void note(int64_t elapsed) {
    if (sampled < SAMPLES) samples[sampled++] = elapsed / 1e6f;
}

static int compare(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double quantile(double part) {
    return sampled ? samples[(size_t)(part * (sampled - 1))] : 0.0;
}

static int stats(char *out, size_t room, long exceptions, long missing) {
    qsort(samples, sampled, sizeof *samples, compare);
    return snprintf(out, room, "{\"count\": %zu, \"exceptions\": %ld, \"missing\": %ld, \"p50\": %.4f, \"p99\": %.4f, \"p999\": %.4f, \"max\": %.4f}\n",
                    sampled, exceptions, missing, quantile(0.5), quantile(0.99), quantile(0.999), quantile(1.0));
}

static int dial(int port) {
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&place, sizeof place)) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void put16(char *at, unsigned value) {
    at[0] = value >> 8;
    at[1] = value;
}

static void write_string(struct connection *c, int target) {
    char frame[FRAME];
    put16(frame, ++c->transaction);
    put16(frame + 2, 0);
    put16(frame + 4, FRAME - 6);
    frame[6] = 1;
    frame[7] = 16;
    put16(frame + 8, 1000 * target);
    put16(frame + 10, TEXT / 2);
    frame[12] = TEXT;
    memset(frame + 13, 'x', TEXT);
    int size = snprintf(frame + 13, TEXT, "%lld:", (long long)nanoseconds(CLOCK_REALTIME));
    frame[13 + size] = 'x';
    c->sent[c->last++ % PENDING] = nanoseconds(CLOCK_MONOTONIC);
    if (send(c->fd, frame, FRAME, MSG_NOSIGNAL) != FRAME) fail("send");
}

static long answers(struct connection *c, int *read_any) {
    long exceptions = 0;
    ssize_t got = recv(c->fd, c->in + c->used, ROOM - c->used, 0);
    if (got <= 0) fail("the device closed a connection");
    c->used += got;
    int place = 0;
    while (c->used - place >= REFUSAL) {
        int size = 6 + ((unsigned char)c->in[place + 4] << 8 | (unsigned char)c->in[place + 5]);
        if (c->used - place < size) break;
        if (size != ANSWER || c->in[place + 7] != 16) exceptions++;
        note(nanoseconds(CLOCK_MONOTONIC) - c->sent[c->first++ % PENDING]);
        ++*read_any;
        place += size;
    }
    memmove(c->in, c->in + place, c->used -= place);
    return exceptions;
}

static void load(int port, int count, double rate, double seconds, int pipeline) {
    int poll = epoll_create1(0);
    int64_t start = nanoseconds(CLOCK_MONOTONIC), end = start + (int64_t)(seconds * 1e9);
    int64_t every = rate > 0 ? (int64_t)(count / rate * 1e9) : 0;
    long exceptions = 0;
    for (int i = 0; i < count; i++) {
        connections[i].fd = dial(port);
        connections[i].due = start + every * i / count;
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(poll, EPOLL_CTL_ADD, connections[i].fd, &event);
        for (int n = 0; !every && n < pipeline; n++) write_string(&connections[i], i % 64 + 1);
    }
    for (int open = count; open;) {
        int64_t now = nanoseconds(CLOCK_MONOTONIC), next = now + 100000000;
        open = 0;
        for (int i = 0; every && i < count; i++) {
            struct connection *c = &connections[i];
            if (c->due <= now && now < end && c->first == c->last) {
                write_string(c, i % 64 + 1);
                c->due += every;
            }
            if (c->due < next) next = c->due;
        }
        struct epoll_event events[64];
        int64_t wait = next - nanoseconds(CLOCK_MONOTONIC);
        struct timespec limit = {0, wait > 0 ? wait : 0};
        int ready = epoll_pwait2(poll, events, 64, &limit, NULL);
        for (int e = 0; e < ready; e++) {
            struct connection *c = &connections[events[e].data.u32];
            int got = 0;
            exceptions += answers(c, &got);
            for (; got && !every && nanoseconds(CLOCK_MONOTONIC) < end; got--) write_string(c, events[e].data.u32 % 64 + 1);
        }
        /* Whoever has not answered five seconds after the end never will. */
        if (nanoseconds(CLOCK_MONOTONIC) > end + 5000000000LL) break;
        if (nanoseconds(CLOCK_MONOTONIC) < end) open = count;
        else for (int i = 0; i < count; i++) open += connections[i].first != connections[i].last;
    }
    char out[512];
    long missing = 0;
    for (int i = 0; i < count; i++) missing += connections[i].last - connections[i].first;
    stats(out, sizeof out, exceptions, missing);
    fputs(out, stdout);
}

static void serve_one(struct connection *c) {
    char *end;
    while ((end = memmem(c->in, c->used, "\r\n\r\n", 4))) {
        *end = 0;
        char *header = strcasestr(c->in, "content-length:");
        long length = header ? atol(header + 15) : 0, size = end + 4 - c->in + length;
        *end = '\r';
        if (c->used < size) return;
        char reply[1024] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        if (!memcmp(c->in, "GET /stats", 10)) {
            char body[512];
            int bytes = stats(body, sizeof body, 0, 0);
            snprintf(reply, sizeof reply, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", bytes, body);
            sampled = 0;
        } else {
            note(nanoseconds(CLOCK_REALTIME) - atoll(end + 4));
            if (!memcmp(c->in, "POST /slow", 10)) c->due = nanoseconds(CLOCK_MONOTONIC) + 1000000000;
        }
        memmove(c->in, c->in + size, c->used -= size);
        if (c->due) {
            c->slow = 1;
            return;
        }
        send(c->fd, reply, strlen(reply), MSG_NOSIGNAL);
    }
}

static void receive(int port) {
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1, poll = epoll_create1(0), slow = 0;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&place, sizeof place) || listen(listener, 4096)) fail("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = MOST};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (int i = 0; i < MOST; i++) connections[i].fd = -1;
    for (;;) {
        struct epoll_event events[64];
        int ready = epoll_wait(poll, events, 64, slow ? 10 : 1000);
        for (int e = 0; e < ready; e++) {
            if (events[e].data.u32 == MOST) {
                int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), i = 0;
                while (i < MOST && connections[i].fd >= 0) i++;
                if (fd < 0 || i == MOST) continue;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                connections[i].fd = fd;
                connections[i].used = connections[i].slow = connections[i].due = 0;
                event.data.u32 = i;
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
                continue;
            }
            struct connection *c = &connections[events[e].data.u32];
            ssize_t got = recv(c->fd, c->in + c->used, ROOM - c->used, 0);
            if (got <= 0) {
                if (got == 0 || errno != EAGAIN) close(c->fd), c->fd = -1;
                continue;
            }
            c->used += got;
            serve_one(c);
            slow |= c->slow;
        }
        int64_t now = nanoseconds(CLOCK_MONOTONIC);
        for (int i = 0; slow && i < MOST; i++) {
            struct connection *c = &connections[i];
            if (c->fd < 0 || !c->due || c->due > now) continue;
            c->due = 0;
            send(c->fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 40, MSG_NOSIGNAL);
            serve_one(c);
        }
    }
}

int main(int argc, char **argv) {
    connections = calloc(MOST, sizeof *connections);
    if (argc == 7 && !strcmp(argv[1], "load") && atoi(argv[3]) <= MOST && atoi(argv[6]) <= PENDING)
        load(atoi(argv[2]), atoi(argv[3]), atof(argv[4]), atof(argv[5]), atoi(argv[6]));
    else if (argc == 3 && !strcmp(argv[1], "receive"))
        receive(atoi(argv[2]));
    else if (argc == 5 && !strcmp(argv[1], "idle") && atoi(argv[3]) <= MOST) {
        for (int i = 0; i < atoi(argv[3]); i++) dial(atoi(argv[2]));
        sleep(atoi(argv[4]));
    } else {
        fputs("usage: peers load PORT CONNECTIONS RATE SECONDS PIPELINE | receive PORT | idle PORT CONNECTIONS SECONDS\n", stderr);
        return 2;
    }
    return 0;
}
