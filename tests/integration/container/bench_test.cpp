// How long the parts of a start take. Hidden: run with `container_test "[bench]"` from a release build.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "runner_fixture.hpp"
#include "wick/base/time.hpp"

using namespace wick;
using namespace wick::container;
using namespace wick::container::testing;

namespace {

double ms_since(TimePoint from) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - from).count();
}

void report(const char* what, std::vector<double> values) {
  std::ranges::sort(values);
  fmt::print("{:24} p50 {:7.2f} ms   min {:7.2f}   max {:7.2f}\n", what, values[values.size() / 2], values.front(),
             values.back());
}

}  // namespace

TEST_CASE("bench: from nothing to a connection", "[.][bench]") {
  RunnerFixture f;
  std::vector<double> prepare, start, listen, whole, remove;
  for (int i = 0; i < 30; ++i) {
    const auto spec = f.spec({"/bin/httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/www"});
    const auto begin = std::chrono::steady_clock::now();
    value_of(f.run(f.runner().prepare(spec, f.open_log(spec.id))));
    prepare.push_back(ms_since(begin));
    const auto prepared = std::chrono::steady_clock::now();
    value_of(f.run(f.runner().start(spec.id)));
    start.push_back(ms_since(prepared));
    const auto started = std::chrono::steady_clock::now();
    while (!f.run(f.runner().connect(spec.id, 8080, 1))) ::usleep(100);
    listen.push_back(ms_since(started));
    whole.push_back(ms_since(begin));
    const auto removing = std::chrono::steady_clock::now();
    value_of(f.run(f.runner().remove(spec.id)));
    remove.push_back(ms_since(removing));
  }
  std::vector<double> output;
  for (int i = 0; i < 30; ++i) {
    const auto spec = f.spec({"/bin/sh", "-c", "echo x; sleep 100"});
    const auto begin = std::chrono::steady_clock::now();
    f.launch(spec);
    while (f.log_of(spec.id).empty()) ::usleep(50);
    output.push_back(ms_since(begin));
    value_of(f.run(f.runner().remove(spec.id)));
  }
  report("first byte of output", output);
  report("prepare", prepare);
  report("start", start);
  report("until it listens", listen);
  report("from nothing", whole);
  report("remove", remove);
}
