/* A small static HTTP/1.1 server for tests: one thread a connection, answers on 127.0.0.1:$PORT inside its own namespace.
 *   GET  /            "hello from <pid> <K_REVISION>\n"
 *   GET  /env/NAME    the variable's value
 *   GET  /bytes/N     N bytes
 *   POST /count       reads the body (Content-Length or chunked), answers its length
 *   GET  /head        the fields of the request, a line each
 *   GET  /sleep/MS    answers after MS milliseconds
 *   GET  /ticks/MS    "tick N\n" every MS milliseconds, for as long as somebody reads
 *   GET  /echo        101 of a WebSocket, then every byte comes back (what one is to a proxy)
 *   GET  /alone/MS    the same as /sleep; 500 when another request is in there
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

/* SHA-1 (FIPS 180-4) of less than 120 bytes, in base64. */
static void sha1_base64(const char* text, char* out) {
  uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}, w[80];
  unsigned char block[128] = {0}, digest[21] = {0};
  size_t size = strlen(text), blocks = size < 56 ? 1 : 2;
  memcpy(block, text, size);
  block[size] = 0x80;
  for (int i = 0; i < 4; ++i) block[blocks * 64 - 1 - i] = (unsigned char)(size * 8 >> (8 * i));
  for (size_t b = 0; b < blocks; ++b) {
    for (int i = 0; i < 80; ++i) {
      const unsigned char* at = block + b * 64 + i * 4;
      uint32_t x = i < 16 ? 0 : w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
      w[i] = i < 16 ? (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3] : x << 1 | x >> 31;
    }
    uint32_t v[5];
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 80; ++i) {
      uint32_t f = i < 20 ? (v[1] & v[2]) | (~v[1] & v[3]) : i >= 40 && i < 60 ? (v[1] & v[2]) | (v[1] & v[3]) | (v[2] & v[3]) : v[1] ^ v[2] ^ v[3];
      uint32_t k = i < 20 ? 0x5A827999 : i < 40 ? 0x6ED9EBA1 : i < 60 ? 0x8F1BBCDC : 0xCA62C1D6;
      uint32_t next = (v[0] << 5 | v[0] >> 27) + f + v[4] + k + w[i];
      v[4] = v[3], v[3] = v[2], v[2] = v[1] << 30 | v[1] >> 2, v[1] = v[0], v[0] = next;
    }
    for (int i = 0; i < 5; ++i) h[i] += v[i];
  }
  for (int i = 0; i < 20; ++i) digest[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int i = 0; i < 21; i += 3) {
    uint32_t three = (uint32_t)digest[i] << 16 | digest[i + 1] << 8 | digest[i + 2];
    for (int j = 0; j < 4; ++j) *out++ = digits[three >> (18 - 6 * j) & 63];
  }
  strcpy(out - 1, "=");
}

static void tick(int fd, int pause_ms) {
  static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
  send_all(fd, head, sizeof head - 1);
  char text[64], chunk[96];
  for (int number = 0;; ++number) {
    int size = snprintf(text, sizeof text, "tick %d\n", number);
    int all = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", size, text);
    if (send(fd, chunk, (size_t)all, MSG_NOSIGNAL) != all) return;
    usleep((useconds_t)pause_ms * 1000);
  }
}

static void* serve(void* argument) {
  struct stream* s = calloc(1, sizeof *s);
  s->fd = (int)(intptr_t)argument;
  char line[8192], method[16], path[4096], text[4096], head[16384];
  while (get_line(s, line, sizeof line)) {
    if (sscanf(line, "%15s %4095s", method, path) != 2) break;
    uint64_t length = 0, total = 0;
    int chunked = 0;
    char event[256] = "", key[100] = "";
    size_t headed = 0;
    while (get_line(s, line, sizeof line) && line[0]) {
      if (!strncasecmp(line, "content-length:", 15)) length = strtoull(line + 15, NULL, 10);
      if (!strncasecmp(line, "transfer-encoding:", 18)) chunked = 1;
      if (headed + strlen(line) + 2 < sizeof head) headed += (size_t)sprintf(head + headed, "%s\n", line);
      if (!strncasecmp(line, "sec-websocket-key: ", 19)) snprintf(key, sizeof key, "%.60s", line + 19);
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
    } else if (!strncmp(path, "/ticks/", 7)) {
      tick(s->fd, atoi(path + 7));
      break;
    } else if (!strcmp(path, "/echo")) {
      char accept[40];
      strcat(key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
      sha1_base64(key, accept);
      int n = snprintf(text, sizeof text, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                       accept);
      send_all(s->fd, text, (size_t)n);
      while (s->start < s->end || fill(s)) {
        send_all(s->fd, s->buffer + s->start, s->end - s->start);
        s->start = s->end;
      }
      break;
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
