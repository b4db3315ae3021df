/* A step of a flow, for tests: a small static HTTP/1.1 server, one thread a connection, on 127.0.0.1:$PORT inside its own namespace.
 *   a CloudEvent (ce-id in the head): logged as "event ID TYPE BODY". Then
 *     $STEP_FAIL=N   the first N are answered 500
 *     $STEP_DROP=W   one whose body holds W is answered 202 without a reply
 *     $STEP_NAME=X   the others with an event: the same type, id "ID-X", body "BODYX"; without $STEP_NAME: 202
 *   GET  /send/HOST/PATH  sends an event of type "from.inside" to http://HOST/PATH as the box's gateway knows it; answers its status
 *   GET  /env/NAME        the variable's value
 * With --emit it sends events "tick-1", "tick-2" … to $K_SINK, one every 200 ms. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int connect_to(uint32_t address, uint16_t port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
  if (fd >= 0 && connect(fd, (struct sockaddr*)&to, sizeof to) == 0) return fd;
  close(fd);
  return -1;
}

/* The status of an event sent to HOST/PATH through the gateway on 127.0.0.80; 0 when nobody is there. */
static int send_event(const char* where, const char* id) {
  char host[512], request[2048];
  snprintf(host, sizeof host, "%s", where);
  char* slash = strchr(host, '/');
  const char* path = slash ? slash + 1 : "";
  if (slash) *slash = 0;
  int fd = connect_to(0x7f000050, 80);
  if (fd < 0) return 0;
  const char* overrides = getenv("K_CE_OVERRIDES");
  const char* extension = overrides && strstr(overrides, "\"team\":\"blue\"") ? "ce-team: blue\r\n" : "";
  int size = snprintf(request, sizeof request,
                      "POST /%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nce-specversion: 1.0\r\nce-id: %s\r\nce-source: /inside\r\n"
                      "ce-type: from.inside\r\n%sContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx",
                      path, host, id, extension);
  int status = 0;
  char answer[256] = "";
  if (send(fd, request, (size_t)size, MSG_NOSIGNAL) == size && recv(fd, answer, sizeof answer - 1, 0) > 0)
    sscanf(answer, "HTTP/1.1 %d", &status);
  close(fd);
  return status;
}

static void reply(FILE* out, const char* text) {
  fprintf(out, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s", strlen(text), text);
}

static int failed;

static void take(FILE* out, const char* id, const char* type, const char* body) {
  printf("event %s %s %s\n", id, type, body);
  fflush(stdout);
  const char *fail = getenv("STEP_FAIL"), *drop = getenv("STEP_DROP"), *name = getenv("STEP_NAME");
  if (fail && __sync_fetch_and_add(&failed, 1) < atoi(fail))
    fprintf(out, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
  else if (!name || (drop && strstr(body, drop)))
    fprintf(out, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
  else
    fprintf(out,
            "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\nce-id: %s-%s\r\nce-source: /%s\r\nce-type: %s\r\nContent-Type: text/plain\r\n"
            "Content-Length: %zu\r\n\r\n%s%s",
            id, name, name, type, strlen(body) + strlen(name), body, name);
}

static void* serve(void* argument) {
  int fd = (int)(intptr_t)argument;
  FILE *in = fdopen(dup(fd), "r"), *out = fdopen(fd, "w");
  char line[8192], method[16], path[4096];
  while (fgets(line, sizeof line, in) && sscanf(line, "%15s %4095s", method, path) == 2) {
    char id[256] = "", type[256] = "", body[65536];
    size_t length = 0;
    while (fgets(line, sizeof line, in) && line[0] != '\r') {
      if (!strncasecmp(line, "content-length:", 15)) length = strtoull(line + 15, NULL, 10);
      if (!strncasecmp(line, "ce-id:", 6)) sscanf(line + 6, " %250[^\r]", id);
      if (!strncasecmp(line, "ce-type:", 8)) sscanf(line + 8, " %250[^\r]", type);
    }
    if (length >= sizeof body || fread(body, 1, length, in) != length) break;
    body[length] = 0;
    if (id[0]) {
      take(out, id, type, body);
    } else if (!strncmp(path, "/send/", 6)) {
      snprintf(line, sizeof line, "%d\n", send_event(path + 6, "from-inside"));
      reply(out, line);
    } else {
      const char* value = !strncmp(path, "/env/", 5) ? getenv(path + 5) : "ok\n";
      reply(out, value ? value : "");
    }
    fflush(out);
  }
  fclose(in);
  fclose(out);
  return NULL;
}

static void* emit(void* argument) {
  (void)argument;
  const char* sink = getenv("K_SINK");
  for (int i = 1;; ++i) {
    char id[32];
    snprintf(id, sizeof id, "tick-%d", i);
    if (sink && !strncmp(sink, "http://", 7)) send_event(sink + 7, id);
    usleep(200000);
  }
  return NULL;
}

static void end(int number) {
  (void)number;
  _exit(0);
}

int main(int argc, char** argv) {
  signal(SIGTERM, end);
  pthread_t thread;
  if (argc > 1 && !strcmp(argv[1], "--emit")) pthread_create(&thread, NULL, emit, NULL);
  const char* port = getenv("PORT") ? getenv("PORT") : "8080";
  int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(listener, (struct sockaddr*)&address, sizeof address) || listen(listener, 128)) {
    perror("listen");
    return 1;
  }
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) continue;
    if (pthread_create(&thread, NULL, serve, (void*)(intptr_t)fd)) close(fd);
    else pthread_detach(thread);
  }
}
