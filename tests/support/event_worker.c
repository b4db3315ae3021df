// What the tests of jobs and sources run. A job says what event it has, waits, and ends:
//   event_worker job SECONDS CODE      prints "event <the event file>" and then "done"
// A source sends an event to K_SINK every 100 ms, and listens nowhere:
//   event_worker source TYPE           prints the status of every answer that is new
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int job(int seconds, int code) {
  char path[512], event[8192];
  snprintf(path, sizeof path, "%s/event", getenv("K_EVENT_PATH"));
  FILE* file = fopen(path, "r");
  if (!file) return 99;
  event[fread(event, 1, sizeof event - 1, file)] = 0;
  printf("event %s mode %s\n", event, getenv("K_EXECUTION_MODE"));
  fflush(stdout);
  sleep(seconds);
  printf("done\n");
  return code;
}

static int post(const char* host, const char* path, const char* type, int number) {
  struct sockaddr_in gateway = {.sin_family = AF_INET, .sin_port = htons(80)};
  inet_pton(AF_INET, "127.0.0.80", &gateway.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM, 0), status = 0;
  char text[2048];
  if (connect(fd, (struct sockaddr*)&gateway, sizeof gateway) == 0) {
    const int size = snprintf(text, sizeof text,
                              "POST %s HTTP/1.1\r\nHost: %s\r\nce-specversion: 1.0\r\nce-id: %d-%d\r\nce-source: /worker\r\n"
                              "ce-type: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                              path, host, (int)getpid(), number, type);
    if (write(fd, text, size) == size) {
      ssize_t got = read(fd, text, sizeof text - 1);
      if (got > 12) text[got] = 0, status = atoi(text + 9);
    }
  }
  close(fd);
  return status;
}

static int source(const char* type) {
  const char* sink = getenv("K_SINK");
  if (!sink || strncmp(sink, "http://", 7) != 0) return 98;
  printf("overrides %s\n", getenv("K_CE_OVERRIDES"));
  char host[256] = "";
  const char* slash = strchr(sink + 7, '/');
  snprintf(host, sizeof host, "%.*s", slash ? (int)(slash - sink - 7) : (int)strlen(sink + 7), sink + 7);
  int last = -1;
  for (int number = 0;; ++number) {
    const int status = post(host, slash ? slash : "/", type, number);
    if (status != last) printf("status %d\n", last = status), fflush(stdout);
    usleep(100000);
  }
}

int main(int argc, char** argv) {
  if (argc > 3 && strcmp(argv[1], "job") == 0) return job(atoi(argv[2]), atoi(argv[3]));
  if (argc > 2 && strcmp(argv[1], "source") == 0) return source(argv[2]);
  return 97;
}
