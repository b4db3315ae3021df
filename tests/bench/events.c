// The two ends of the broker's benchmark.
//
//   events publish HOST PORT PATH CONNECTIONS SECONDS TYPES   one event of 256 bytes at a time on each connection
//   events sink PORT                                          takes events until SIGTERM
//
// The first 16 characters of the data are the time of sending in nanoseconds (hex, CLOCK_MONOTONIC), so the sink knows
// how long an event was on its way. Both print "count N seconds S p50_us A p99_us B max_us C".
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { body_bytes = 256, buckets = 4096, buffer_bytes = 65536 };

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// Times in buckets of 1/64 of a power of two.
static uint64_t histogram[buckets], samples, largest;
static unsigned bucket_of(uint64_t ns) {
  if (ns < 64) return (unsigned)ns;
  unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - 6u;
  return (shift + 1) * 64 + (unsigned)((ns >> shift) & 63);
}
static uint64_t value_of(unsigned bucket) {
  return bucket < 64 ? bucket : (64ull + bucket % 64) << (bucket / 64 - 1);
}
static void observe(uint64_t ns) {
  ++histogram[bucket_of(ns)];
  ++samples;
  if (ns > largest) largest = ns;
}
static double percentile_us(double share) {
  uint64_t seen = 0;
  for (unsigned i = 0; i < buckets; ++i)
    if ((seen += histogram[i]) >= (uint64_t)(share * (double)samples) && seen > 0) return (double)value_of(i) / 1000;
  return 0;
}
static void report(double seconds) {
  printf("count %llu seconds %.3f p50_us %.1f p99_us %.1f max_us %.1f\n", (unsigned long long)samples, seconds,
         percentile_us(0.5), percentile_us(0.99), (double)largest / 1000);
  fflush(stdout);
}

struct connection {
  int fd;
  size_t used;
  uint64_t sent;
  char buffer[buffer_bytes];
};

static void die(const char* what) {
  perror(what);
  exit(1);
}

static void send_event(struct connection* c, const char* host, const char* path, unsigned long number, int types) {
  char data[body_bytes + 1], message[1024];
  memset(data, 'x', body_bytes);
  c->sent = now_ns();
  snprintf(data, 17, "%016llx", (unsigned long long)c->sent);
  data[16] = 'x';
  data[body_bytes] = 0;
  int size = snprintf(message, sizeof message,
                      "POST %s HTTP/1.1\r\nHost: %s\r\nce-specversion: 1.0\r\nce-id: %lu\r\nce-source: /bench\r\n"
                      "ce-type: type.%lu\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
                      path, host, number, number % (unsigned long)types, body_bytes, data);
  if (write(c->fd, message, (size_t)size) != size) die("write");
}

static int publish(char** arg) {
  const int count = atoi(arg[3]), types = atoi(arg[5]);
  const double limit = atof(arg[4]);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arg[1]))};
  inet_pton(AF_INET, arg[0], &to.sin_addr);
  int poll = epoll_create1(0);
  struct connection* all = calloc((size_t)count, sizeof *all);
  unsigned long number = (unsigned long)getpid() * 100000000ul;
  const uint64_t start = now_ns();
  for (int i = 0; i < count; ++i) {
    all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(all[i].fd, (struct sockaddr*)&to, sizeof to) != 0) die("connect");
    int one = 1;
    setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
    epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &event);
    send_event(&all[i], arg[0], arg[2], number++, types);
  }
  while ((double)(now_ns() - start) / 1e9 < limit) {
    struct epoll_event events[256];
    int ready = epoll_wait(poll, events, 256, 100);
    for (int i = 0; i < ready; ++i) {
      struct connection* c = events[i].data.ptr;
      ssize_t got = read(c->fd, c->buffer + c->used, sizeof c->buffer - 1 - c->used);
      if (got <= 0) die("the broker hung up");
      c->used += (size_t)got;
      c->buffer[c->used] = 0;
      if (!strstr(c->buffer, "\r\n\r\n")) continue;
      if (strncmp(c->buffer, "HTTP/1.1 202", 12) != 0) {
        fprintf(stderr, "answered: %.200s\n", c->buffer);
        return 1;
      }
      c->used = 0;
      observe(now_ns() - c->sent);
      send_event(c, arg[0], arg[2], number++, types);
    }
  }
  report((double)(now_ns() - start) / 1e9);
  return 0;
}

static volatile sig_atomic_t stopping;
static void stop(int signal) {
  (void)signal;
  stopping = 1;
}

// Whole requests in the buffer are answered in one write.
static int take(struct connection* c) {
  static const char answer[] = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
  char out[8192];
  size_t out_used = 0, done = 0;
  while (1) {
    c->buffer[c->used] = 0;
    char* head_end = strstr(c->buffer + done, "\r\n\r\n");
    if (!head_end) break;
    char* length = strcasestr(c->buffer + done, "content-length:");
    size_t body = length && length < head_end ? strtoul(length + 15, NULL, 10) : 0;
    size_t total = (size_t)(head_end + 4 - c->buffer) + body;
    if (total > c->used) break;
    char stamp[17] = {0};
    if (body >= 16) memcpy(stamp, head_end + 4, 16);
    uint64_t sent = strtoull(stamp, NULL, 16), at = now_ns();
    if (sent && sent < at) observe(at - sent);
    done = total;
    if (out_used + sizeof answer > sizeof out) break;
    memcpy(out + out_used, answer, sizeof answer - 1);
    out_used += sizeof answer - 1;
  }
  memmove(c->buffer, c->buffer + done, c->used - done);
  c->used -= done;
  return out_used == 0 || write(c->fd, out, out_used) == (ssize_t)out_used;
}

static int sink(char** arg) {
  struct sigaction action = {.sa_handler = stop};
  sigaction(SIGTERM, &action, NULL);
  signal(SIGPIPE, SIG_IGN);
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arg[0])),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(listener, (struct sockaddr*)&at, sizeof at) != 0 || listen(listener, 512) != 0) die("listen");
  int poll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
  const uint64_t start = now_ns();
  while (!stopping) {
    struct epoll_event events[256];
    int ready = epoll_wait(poll, events, 256, 100);
    for (int i = 0; i < ready; ++i) {
      struct connection* c = events[i].data.ptr;
      if (!c) {
        c = calloc(1, sizeof *c);
        c->fd = accept(listener, NULL, NULL);
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event added = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &added);
        continue;
      }
      ssize_t got = read(c->fd, c->buffer + c->used, sizeof c->buffer - 1 - c->used);
      if (got > 0) c->used += (size_t)got;
      if (got <= 0 || !take(c)) {
        close(c->fd);
        free(c);
      }
    }
  }
  report((double)(now_ns() - start) / 1e9);
  return 0;
}

int main(int argc, char** argv) {
  if (argc == 8 && strcmp(argv[1], "publish") == 0) return publish(argv + 2);
  if (argc == 3 && strcmp(argv[1], "sink") == 0) return sink(argv + 2);
  fprintf(stderr, "events publish HOST PORT PATH CONNECTIONS SECONDS TYPES | events sink PORT\n");
  return 2;
}
