/* A small static HTTP/1.1 server for tests: one thread a connection, answers on 127.0.0.1:$PORT inside its own namespace.
 *   GET  /            "hello from <pid> <K_REVISION>\n"
 *   GET  /env/NAME    the variable's value
 *   GET  /bytes/N     N bytes
 *   POST /count       reads the body (Content-Length or chunked), answers its length
 *   GET  /head        the fields of the request, a line each
 *   GET  /sleep/MS    answers after MS milliseconds
 *   GET  /alone/MS    the same; 500 when another request is in there
 *   GET  /args        the arguments, one a line
 *   GET  /exit/CODE   ends the process
 *   GET  /file/PATH   the first 4 KB of /PATH, or "error ERRNO"
 *   GET  /stat/PATH   its mode (octal), uid and gid
 *   GET  /write/PATH  writes "written" to /PATH: "ok", or "error ERRNO"
 *   GET  /eat/MB      allocates and touches MB megabytes
 *   a CloudEvent (ce-id in the head): logged as "event ID", answered 204
 * Flags: --leave PATH TEXT (written there), --exit CODE (end at once), --exit-after MS CODE, --port N (listen elsewhere), --never (never listen), --eat MB (at start). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct stream {
  int fd;
  char buffer[65536];
  size_t start, end;
};

static int fill(struct stream* s) {
  if (s->start == s->end) s->start = s->end = 0;
  ssize_t got = read(s->fd, s->buffer + s->end, sizeof s->buffer - s->end);
  if (got <= 0) return 0;
  s->end += (size_t)got;
  return 1;
}

static int get_line(struct stream* s, char* line, size_t size) {
  size_t length = 0;
  for (;;) {
    if (s->start == s->end && !fill(s)) return 0;
    char c = s->buffer[s->start++];
    if (c == '\n') break;
    if (c != '\r' && length + 1 < size) line[length++] = c;
  }
  line[length] = 0;
  return 1;
}

static int skip(struct stream* s, uint64_t bytes) {
  while (bytes > 0) {
    if (s->start == s->end && !fill(s)) return 0;
    uint64_t have = s->end - s->start;
    uint64_t now = have < bytes ? have : bytes;
    s->start += (size_t)now;
    bytes -= now;
  }
  return 1;
}

static void send_all(int fd, const char* bytes, size_t size) {
  while (size > 0) {
    ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes += sent;
    size -= (size_t)sent;
  }
}

static void answer(int fd, const char* text) {
  char head[4096 + 256];
  int length = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s", strlen(text), text);
  send_all(fd, head, (size_t)length);
}

static char** arguments;
static int inside;  /* requests in /alone/ */

static void eat(long megabytes) {
  volatile char* memory = malloc((size_t)megabytes << 20);
  for (size_t i = 0; memory && i < (size_t)megabytes << 20; i += 4096) memory[i] = 1;
}

static void look(const char* path, char* text, size_t size) {
  int fd = open(path, O_RDONLY);
  ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);
  if (got < 0)
    snprintf(text, size, "error %d\n", errno);
  else
    text[got] = 0;
  if (fd >= 0) close(fd);
}

static void put(const char* path, char* text, size_t size) {
  int fd = open(path, O_WRONLY | O_CREAT, 0644);
  if (fd < 0 || write(fd, "written", 7) != 7)
    snprintf(text, size, "error %d\n", errno);
  else
    snprintf(text, size, "ok\n");
  if (fd >= 0) close(fd);
}

static void* serve(void* argument) {
  struct stream* s = calloc(1, sizeof *s);
  s->fd = (int)(intptr_t)argument;
  char line[8192], method[16], path[4096], text[4096], head[16384];
  while (get_line(s, line, sizeof line)) {
    if (sscanf(line, "%15s %4095s", method, path) != 2) break;
    uint64_t length = 0, total = 0;
    int chunked = 0;
    char event[256] = "";
    size_t headed = 0;
    while (get_line(s, line, sizeof line) && line[0]) {
      if (!strncasecmp(line, "content-length:", 15)) length = strtoull(line + 15, NULL, 10);
      if (!strncasecmp(line, "transfer-encoding:", 18)) chunked = 1;
      if (headed + strlen(line) + 2 < sizeof head) headed += (size_t)sprintf(head + headed, "%s\n", line);
      if (!strncasecmp(line, "ce-id: ", 7)) snprintf(event, sizeof event, "%.200s", line + 7);
    }
    if (chunked) {
      while (get_line(s, line, sizeof line)) {
        uint64_t size = strtoull(line, NULL, 16);
        if (size == 0) {
          get_line(s, line, sizeof line);
          break;
        }
        if (!skip(s, size) || !get_line(s, line, sizeof line)) break;
        total += size;
      }
    } else {
      if (!skip(s, length)) break;
      total = length;
    }
    if (event[0]) {
      printf("event %s\n", event);
      fflush(stdout);
      send_all(s->fd, "HTTP/1.1 204 No Content\r\n\r\n", 27);
    } else if (!strncmp(path, "/env/", 5)) {
      const char* value = getenv(path + 5);
      answer(s->fd, value ? value : "");
    } else if (!strncmp(path, "/bytes/", 7)) {
      uint64_t left = strtoull(path + 7, NULL, 10);
      int n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", (unsigned long long)left);
      send_all(s->fd, text, (size_t)n);
      static char zeros[65536];
      while (left > 0) {
        size_t now = left < sizeof zeros ? (size_t)left : sizeof zeros;
        send_all(s->fd, zeros, now);
        left -= now;
      }
    } else if (!strncmp(path, "/count", 6)) {
      snprintf(text, sizeof text, "%llu\n", (unsigned long long)total);
      answer(s->fd, text);
    } else if (!strcmp(path, "/head")) {
      int n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", headed);
      send_all(s->fd, text, (size_t)n);
      send_all(s->fd, head, headed);
    } else if (!strncmp(path, "/sleep/", 7)) {
      usleep((useconds_t)atoi(path + 7) * 1000);
      answer(s->fd, "slept\n");
    } else if (!strncmp(path, "/alone/", 7)) {
      int before = __sync_fetch_and_add(&inside, 1);
      usleep((useconds_t)atoi(path + 7) * 1000);
      __sync_fetch_and_sub(&inside, 1);
      if (before == 0)
        answer(s->fd, "alone\n");
      else
        send_all(s->fd, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", 57);
    } else if (!strcmp(path, "/args")) {
      size_t used = 0;
      text[0] = 0;
      for (char** a = arguments; *a && used < sizeof text; ++a)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s\n", *a);
      answer(s->fd, text);
    } else if (!strncmp(path, "/file/", 6)) {
      look(path + 5, text, sizeof text);
      answer(s->fd, text);
    } else if (!strncmp(path, "/stat/", 6)) {
      struct stat info;
      if (stat(path + 5, &info) != 0)
        snprintf(text, sizeof text, "error %d\n", errno);
      else
        snprintf(text, sizeof text, "%o %d %d\n", info.st_mode & 07777, (int)info.st_uid, (int)info.st_gid);
      answer(s->fd, text);
    } else if (!strncmp(path, "/write/", 7)) {
      put(path + 6, text, sizeof text);
      answer(s->fd, text);
    } else if (!strncmp(path, "/exit/", 6)) {
      exit(atoi(path + 6));
    } else if (!strncmp(path, "/eat/", 5)) {
      eat(atol(path + 5));
      answer(s->fd, "ate\n");
    } else {
      const char* revision = getenv("K_REVISION");
      snprintf(text, sizeof text, "hello from %d %s\n", getpid(), revision ? revision : "");
      answer(s->fd, text);
    }
  }
  close(s->fd);
  free(s);
  return NULL;
}

static void end(int number) {
  (void)number;
  _exit(0);
}

int main(int argc, char** argv) {
  arguments = argv;
  const char* port = getenv("PORT") ? getenv("PORT") : "8080";
  for (int i = 1; i < argc; ++i) {
    if (!strcmp(argv[i], "--leave")) {
      int fd = open(argv[i + 1], O_WRONLY);
      if (fd < 0 || write(fd, argv[i + 2], strlen(argv[i + 2])) < 0) perror(argv[i + 1]);
    }
    if (!strcmp(argv[i], "--exit")) {
      fprintf(stderr, "ending as told\n");
      return atoi(argv[i + 1]);
    }
    if (!strcmp(argv[i], "--exit-after")) {
      usleep((useconds_t)atoi(argv[i + 1]) * 1000);
      return atoi(argv[i + 2]);
    }
    if (!strcmp(argv[i], "--port")) port = argv[i + 1];
    if (!strcmp(argv[i], "--eat")) eat(atol(argv[i + 1]));
    if (!strcmp(argv[i], "--never"))
      for (;;) pause();
  }
  signal(SIGTERM, end);
  int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(listener, (struct sockaddr*)&address, sizeof address) || listen(listener, 1024)) {
    perror("listen");
    return 1;
  }
  printf("listening on %s\n", port);
  fflush(stdout);
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) continue;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, (void*)(intptr_t)fd)) close(fd);
    else pthread_detach(thread);
  }
}
