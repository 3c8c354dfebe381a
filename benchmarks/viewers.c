/* The viewers of the benchmarks: many event streams read by one process that costs little.

   viewers PORT REQUEST      REQUEST is a file with the request that each viewer sends

   It does what its standard input says, a line a command, and answers each with a line of JSON:

     open N RCVBUF WAIT_MS   open N more (RCVBUF bytes of receive buffer, 0 is the system's own);
                             answers when each has had its first event, was refused, or is too late
     window FROM TO          count the updates whose as_of lies there (seconds since the epoch)
     report                  what was counted and what became of the viewers
     byes                    when the bytes of each bye were read, in order (s since the epoch), but
                             for those of streams that were nothing else: who comes while a worker
                             goes gets such a one
     stop N                  let the first N read no more
     drop N                  close the first N that are open, at once
     stay                    from now on, who is cut off comes back after its own retry: time

   Lag is the time at which an event's bytes were read less its as_of, on this machine's clock;
   that of viewers with a receive buffer of their own is not told. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLOSED, CONNECTING, HEAD, STREAM };
enum { MOST = 20000, MOST_BYES = 65536, AT_ONCE = 128, INPUT = 0xffffffff };

struct viewer {
    int fd, state, rcvbuf, status;
    unsigned events;          /* updates within the window */
    int is_free, is_stopped, has_tried, has_first, has_news, has_bye, is_update, is_snapshot, is_away, is_settled, hints_retry;
    double retry_s, due_s;
    char *part;               /* a line of which the end has not come yet */
    size_t part_size, part_room;
};

static struct viewer viewers[MOST];
static unsigned n_viewers, n_free, n_pending, n_to_open, n_waited;
static struct sockaddr_in server;
static char request[65536];
static size_t request_size;
static int poller, stays, waits, rcvbuf_now;
static double wait_until_s, from_s, to_s = -1;
static float *lags;
static size_t n_lags, lags_room;
static double moments[65536];
static unsigned n_moments, n_bye, n_timed, n_lost, n_snapshots, n_comments, n_back;
static unsigned long long n_bytes, update_bytes, n_updates;
static double byes_s[MOST_BYES];
static double first_lost_s, last_lost_s, first_try_s, last_try_s;
static char encoding[64];
static char buffer[1 << 18];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void settle(struct viewer *v)
{
    if (!v->is_settled) {
        v->is_settled = 1;
        n_pending--;
        n_waited--;
    }
}

static void shut(struct viewer *v)
{
    if (v->fd >= 0)
        close(v->fd);
    v->fd = -1;
    v->state = CLOSED;
    free(v->part);
    v->part = NULL;
    v->part_size = v->part_room = 0;
}

static void lose(struct viewer *v, double at_s)
{
    int was_stream = v->state == STREAM;
    shut(v);
    settle(v);
    if (was_stream) {
        n_lost++;
        if (!first_lost_s)
            first_lost_s = at_s;
        last_lost_s = at_s;
    }
    if (was_stream || v->is_away) {
        if (was_stream)
            v->has_tried = 0;
        v->is_away = 1;
        v->due_s = at_s + v->retry_s;
    }
}

static void begin(struct viewer *v)
{
    v->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (v->fd < 0)
        fail("socket");
    if (v->rcvbuf)
        setsockopt(v->fd, SOL_SOCKET, SO_RCVBUF, &v->rcvbuf, sizeof v->rcvbuf);
    v->state = CONNECTING;
    v->status = v->has_first = v->has_news = v->has_bye = v->hints_retry = 0;
    if (connect(v->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) {
        lose(v, now());
        return;
    }
    struct epoll_event e = {.events = EPOLLOUT, .data.u32 = (unsigned)(v - viewers)};
    epoll_ctl(poller, EPOLL_CTL_ADD, v->fd, &e);
}

static void open_more(void)
{
    while (n_to_open && n_pending < AT_ONCE) {
        unsigned at;
        for (at = 0; n_free && !viewers[at].is_free; at++)
            ;
        if (!n_free && n_viewers == MOST)
            return;
        struct viewer *v = n_free ? n_free--, &viewers[at] : &viewers[n_viewers++];
        memset(v, 0, sizeof *v);
        v->rcvbuf = rcvbuf_now;
        v->retry_s = 3;
        n_to_open--;
        n_pending++;
        begin(v);
    }
}

static void count(struct viewer *v, double as_of, double at_s, size_t size)
{
    if (v->is_snapshot || as_of < from_s || as_of >= to_s)
        return;
    v->events++;
    n_updates++;
    update_bytes += size;
    unsigned i = n_moments;
    while (i && moments[i - 1] != as_of)
        i--;
    if (!i && n_moments < sizeof moments / sizeof *moments)
        moments[n_moments++] = as_of;
    if (v->is_stopped || v->rcvbuf)
        return;
    if (n_lags == lags_room) {
        lags_room = lags_room ? 2 * lags_room : 1 << 16;
        if (!(lags = realloc(lags, lags_room * sizeof *lags)))
            fail("realloc");
    }
    lags[n_lags++] = (float)(at_s - as_of);
}

static void read_line(struct viewer *v, const char *line, size_t size, double at_s)
{
    if (v->state == HEAD) {
        if (size > 12 && !strncmp(line, "HTTP/1.", 7)) {
            v->status = atoi(line + 9);
        } else if (size > 12 && !strncasecmp(line, "Retry-After:", 12)) {
            v->hints_retry = 1;
        } else if (size > 17 && !strncasecmp(line, "Content-Encoding:", 17)) {
            snprintf(encoding, sizeof encoding, "%.*s", (int)(size - 18), line + 17);
        } else if (size <= 2) { /* with its line end */
            if (v->status == 200)
                v->state = STREAM;
            else
                lose(v, at_s);
        }
        return;
    }
    if (size > 7 && !strncmp(line, "event: ", 7)) {
        v->is_snapshot = !strncmp(line + 7, "snapshot", 8);
        if (!strncmp(line + 7, "bye", 3)) {
            v->has_bye = v->is_snapshot = 1;
            n_bye++;
            if (v->has_news && n_timed < MOST_BYES)
                byes_s[n_timed++] = at_s;
        }
        v->has_news = 1;
        if (v->is_snapshot && !v->has_bye && at_s >= from_s && at_s < to_s)
            n_snapshots++;
    } else if (size > 7 && !strncmp(line, "retry: ", 7)) {
        v->retry_s = atoi(line + 7) / 1000.0;
    } else if (size > 6 && !strncmp(line, "data: ", 6)) {
        const char *found = memmem(line, size, "\"as_of\":", 8);
        if (found)
            count(v, strtod(found + 8, NULL), at_s, size);
        v->is_snapshot = 0;
    } else if (line[0] == ':') {
        n_comments += at_s >= from_s && at_s < to_s;
    } else {
        return;
    }
    if (!v->has_first) {
        v->has_first = 1;
        settle(v);
        if (v->is_away) {
            v->is_away = 0;
            n_back++;
        }
    }
}

static void keep(struct viewer *v, const char *data, size_t size)
{
    if (v->part_size + size > v->part_room) {
        v->part_room = 2 * (v->part_size + size);
        if (!(v->part = realloc(v->part, v->part_room)))
            fail("realloc");
    }
    memcpy(v->part + v->part_size, data, size);
    v->part_size += size;
}

static void drink(struct viewer *v)
{
    ssize_t got = recv(v->fd, buffer, sizeof buffer - 1, 0);
    double at_s = now();
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        lose(v, at_s);
        return;
    }
    if (at_s >= from_s && at_s < to_s)
        n_bytes += got;
    buffer[got] = 0;
    char *at = buffer, *end = buffer + got, *stop;
    while (v->fd >= 0 && (stop = memchr(at, '\n', end - at))) {
        if (v->part_size) {
            keep(v, at, stop + 1 - at);
            size_t size = v->part_size;
            v->part_size = 0;
            v->part[size - 1] = 0;
            read_line(v, v->part, size, at_s);
        } else {
            *stop = 0;
            read_line(v, at, stop + 1 - at, at_s);
        }
        at = stop + 1;
    }
    if (v->fd >= 0 && at < end)
        keep(v, at, end - at);
    else if (v->fd >= 0 && v->part_room) {
        free(v->part);
        v->part = NULL;
        v->part_room = 0;
    }
}

static void turn(struct viewer *v, unsigned events)
{
    if (v->fd < 0)
        return;
    if (v->state == CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        if (send(v->fd, request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size) {
            lose(v, now());
            return;
        }
        v->state = HEAD;
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = (unsigned)(v - viewers)};
        epoll_ctl(poller, EPOLL_CTL_MOD, v->fd, &e);
        return;
    }
    drink(v);
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double share(double part)
{
    size_t i = (size_t)(n_lags * part);
    return n_lags ? lags[i < n_lags ? i : n_lags - 1] * 1000.0 : -1;
}

static void say_open(void)
{
    unsigned is_open = 0, full = 0, hints = 0, other = 0;
    for (unsigned i = 0; i < n_viewers; i++) {
        struct viewer *v = &viewers[i];
        if (v->state == STREAM && v->has_first)
            is_open++;
        else if (v->status == 503)
            full++, hints += v->hints_retry;
        else
            other++;
    }
    printf("{\"open\": %u, \"full\": %u, \"hints\": %u, \"other\": %u, \"encoding\": \"%s\"}\n",
           is_open, full, hints, other, encoding);
}

static void report(void)
{
    unsigned is_open = 0, reading = 0, least = 0, most = 0;
    for (unsigned i = 0; i < n_viewers; i++) {
        struct viewer *v = &viewers[i];
        if (v->state != STREAM)
            continue;
        is_open++;
        if (v->is_stopped)
            continue;
        if (!reading++ || v->events < least)
            least = v->events;
        if (v->events > most)
            most = v->events;
    }
    qsort(lags, n_lags, sizeof *lags, by_size);
    printf("{\"open\": %u, \"reading\": %u, \"events\": %llu, \"moments\": %u, \"least\": %u, "
           "\"most\": %u, \"snapshots\": %u, \"comments\": %u, \"bytes\": %llu, "
           "\"update_bytes\": %.1f, \"lag_p50_ms\": %.3f, \"lag_p99_ms\": %.3f, "
           "\"lag_max_ms\": %.3f, \"byes\": %u, \"lost\": %u, \"first_lost_at\": %.6f, "
           "\"last_lost_at\": %.6f, \"back\": %u, \"first_try_at\": %.6f, "
           "\"last_try_at\": %.6f}\n",
           is_open, reading, n_updates, n_moments, least, most, n_snapshots, n_comments, n_bytes,
           n_updates ? (double)update_bytes / n_updates : 0, share(0.5), share(0.99), share(1),
           n_bye, n_lost, first_lost_s, last_lost_s, n_back, first_try_s, last_try_s);
}

static void say_byes(void)
{
    printf("{\"at\": [");
    for (unsigned i = 0; i < n_timed; i++)
        printf(i ? ", %.6f" : "%.6f", byes_s[i]);
    printf("]}\n");
}

static void obey(char *line)
{
    unsigned n = 0;
    int wait_ms = 0;
    if (sscanf(line, "open %u %d %d", &n, &rcvbuf_now, &wait_ms) == 3) {
        n_to_open = n_waited = n;
        wait_until_s = now() + wait_ms / 1000.0;
        waits = 1;
        return;
    }
    if (sscanf(line, "window %lf %lf", &from_s, &to_s) == 2) {
        n_lags = 0;
        n_moments = n_snapshots = n_comments = 0;
        n_bytes = update_bytes = n_updates = 0;
        for (unsigned i = 0; i < n_viewers; i++)
            viewers[i].events = 0;
        printf("{}\n");
    } else if (sscanf(line, "stop %u", &n) == 1) {
        for (unsigned i = 0; i < n && i < n_viewers; i++) {
            viewers[i].is_stopped = 1;
            if (viewers[i].fd >= 0)
                epoll_ctl(poller, EPOLL_CTL_DEL, viewers[i].fd, NULL);
        }
        printf("{}\n");
    } else if (sscanf(line, "drop %u", &n) == 1) {
        double began_s = now();
        unsigned dropped = 0;
        for (unsigned i = 0; i < n_viewers && dropped < n; i++)
            if (viewers[i].fd >= 0) {
                shut(&viewers[i]);
                settle(&viewers[i]);
                viewers[i].is_away = 0;
                viewers[i].is_free = 1;
                n_free++;
                dropped++;
            }
        printf("{\"dropped\": %u, \"from_at\": %.6f, \"to_at\": %.6f}\n", dropped, began_s, now());
    } else if (!strncmp(line, "stay", 4)) {
        stays = 1;
        printf("{}\n");
    } else if (!strncmp(line, "report", 6)) {
        report();
    } else if (!strncmp(line, "byes", 4)) {
        say_byes();
    }
}

static void listen_to_input(void)
{
    static char line[256];
    static size_t size;
    ssize_t got = read(0, line + size, sizeof line - 1 - size);
    if (got <= 0)
        exit(0); /* whoever started this is gone */
    size += got;
    line[size] = 0;
    char *stop;
    while ((stop = strchr(line, '\n'))) {
        *stop = 0;
        obey(line);
        size -= stop + 1 - line;
        memmove(line, stop + 1, size + 1);
    }
    fflush(stdout);
}

static void come_back(void)
{
    static double looked_s;
    double at_s = now();
    if (!stays || at_s - looked_s < 0.005)
        return;
    looked_s = at_s;
    for (unsigned i = 0; i < n_viewers; i++) {
        struct viewer *v = &viewers[i];
        if (v->is_away && v->state == CLOSED && at_s >= v->due_s) {
            if (!v->has_tried) {
                v->has_tried = 1;
                last_try_s = at_s;
                if (!first_try_s)
                    first_try_s = at_s;
            }
            begin(v);
        }
    }
}

int main(int count_of, char **words)
{
    if (count_of != 3)
        return 2;
    server.sin_family = AF_INET;
    server.sin_port = htons(atoi(words[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    FILE *file = fopen(words[2], "r");
    if (!file)
        fail(words[2]);
    request_size = fread(request, 1, sizeof request, file);
    fclose(file);
    poller = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = INPUT};
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &e);
    static struct epoll_event events[1024];
    for (;;) {
        open_more();
        if (waits && (!n_waited || now() >= wait_until_s)) {
            waits = 0;
            n_to_open = 0;
            say_open();
            fflush(stdout);
        }
        come_back();
        int n = epoll_wait(poller, events, 1024, waits || stays ? 10 : 1000);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 == INPUT)
                listen_to_input();
            else
                turn(&viewers[events[i].data.u32], events[i].events);
        }
    }
}
