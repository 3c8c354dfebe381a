/* The floor of the benchmarks: the same event written to every viewer, and nothing else.

   epoll_writer SIZE      prints its port; ends when its standard input does

   Once a second it makes one event of SIZE bytes with the time in it and writes these bytes, without
   waiting, to all who are connected. A viewer that cannot take an event whole is let go. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 65536 };

static int is_viewer[MOST];
static int poller, listener, timer, top;
static char *event;
static size_t size;

static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                           "Cache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "d\r\nretry: 2000\n\n\r\n";

static void leave(int fd)
{
    is_viewer[fd] = 0;
    close(fd);
}

static void watch(int fd)
{
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
}

static void welcome(void)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MOST) {
            close(fd);
            continue;
        }
        if (fd > top)
            top = fd;
        watch(fd);
    }
}

static void hear(int fd)
{
    char request[4096];
    ssize_t got = recv(fd, request, sizeof request, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        leave(fd);
    } else if (!is_viewer[fd]) {
        /* The benchmark's requests fit into one segment. */
        if (send(fd, head, sizeof head - 1, MSG_NOSIGNAL) == sizeof head - 1)
            is_viewer[fd] = 1;
        else
            leave(fd);
    }
}

static void publish(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    char data[128];
    int n = snprintf(data, sizeof data, "event: update\ndata: {\"as_of\":%ld.%06ld,\"x\":\"",
                     (long)t.tv_sec, t.tv_nsec / 1000);
    int start = sprintf(event, "%zx\r\n", size);
    memset(event + start, 'x', size);
    memcpy(event + start, data, n);
    memcpy(event + start + size - 4, "\"}\n\n", 4);
    memcpy(event + start + size, "\r\n", 2);
    ssize_t whole = start + size + 2;
    for (int fd = 0; fd <= top; fd++)
        if (is_viewer[fd] && send(fd, event, whole, MSG_NOSIGNAL) != whole)
            leave(fd);
}

int main(int count, char **words)
{
    if (count != 2 || (size = strtoul(words[1], NULL, 10)) < 256)
        return 2;
    event = malloc(size + 64);
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t room = sizeof address;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, room) < 0 || listen(listener, 4096) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &room) < 0) {
        perror("listen");
        return 1;
    }
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct itimerspec each = {{1, 0}, {1, 0}};
    timerfd_settime(timer, 0, &each, NULL);
    poller = epoll_create1(0);
    watch(0);
    watch(listener);
    watch(timer);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    static struct epoll_event events[1024];
    for (;;) {
        int n = epoll_wait(poller, events, 1024, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            unsigned long long turns;
            if (fd == 0)
                return 0;
            if (fd == listener)
                welcome();
            else if (fd != timer)
                hear(fd);
            else if (read(timer, &turns, sizeof turns) > 0)
                publish();
        }
    }
}
