// Ways out of an instance, tried from inside: system calls and files (hostile.c), images made for it, and bombs.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "runner_fixture.hpp"
#include "wick/base/text.hpp"

using namespace wick;
using namespace wick::container;
using namespace wick::container::testing;
using Catch::Matchers::Contains;
using namespace std::chrono_literals;

namespace {

constexpr const char* canary = "/var/tmp/wick-breakout-canary";

/// A file of the host that no instance may see.
struct Canary {
  Canary() { value_of(write_file(canary, "host\n")); }
  ~Canary() { ::unlink(canary); }
};

std::string hostile_program() {
  auto folder = value_of(TemporaryFolder::make("/tmp"));
  const auto out = folder.path() / "hostile";
  const auto command = fmt::format("gcc -static -O1 -w -o {} {}", out.string(), HOSTILE_SOURCE);
  if (std::system(command.c_str()) != 0) FAIL("gcc and libc6-dev are needed: " << command);
  return value_of(read_file(out));
}

std::string digest_of_runtime() { return Digest::of(value_of(read_file("/usr/sbin/runc"))).text(); }

struct Tried {
  Exit exit;
  std::string output;
};

/// Runs to the end, or says why it does not start.
Tried try_it(RunnerFixture& f, const InstanceSpec& spec) {
  auto prepared = f.run(f.runner().prepare(spec, f.open_log(spec.id)));
  if (!prepared) return {.exit = {}, .output = "refused: " + prepared.error().what()};
  auto started = f.run(f.runner().start(spec.id));
  if (!started) return {.exit = {}, .output = "refused: " + started.error().what()};
  const auto exit = f.wait_exit(spec.id);
  value_of(f.run(f.runner().remove(spec.id)));
  return {.exit = exit, .output = f.log_of(spec.id)};
}

}  // namespace

TEST_CASE("a hostile program finds every door shut") {
  const Canary host;
  RunnerFixture f;
  Tar tar;
  tar.file("hostile", hostile_program(), 0755);
  const Digest layer = f.import(tar);
  for (const std::uint32_t uid : {65532U, 0U}) {  // 0: root of its own user namespace, where a service is allowed to be
    CAPTURE(uid);
    auto spec = f.spec({"/hostile", canary});
    spec.layers.push_back(layer);
    spec.process.uid = spec.process.gid = uid;
    spec.allow_root = uid == 0;
    const auto tried = try_it(f, spec);
    INFO(tried.output);
    CHECK(tried.exit.status.ok());
    const auto lines = split(trim(tried.output), '\n');
    CHECK(lines.size() > 70);
    for (const auto line : lines) {
      // root stays root: no door, it is where it was
      if (uid == 0 && (line == "setuid-0 OPEN" || line == "setgid-0 OPEN")) continue;
      CHECK_THAT(std::string(line), Contains(" blocked "));
    }
  }
  CHECK(*read_file(canary) == "host\n");
}

TEST_CASE("a setuid program of the image gives nothing") {
  RunnerFixture f;
  Tar tar;
  tar.folder("suid").file("suid/busybox", value_of(read_file("/bin/busybox")), 04755);
  auto spec = f.spec({"/bin/sh", "-c",
                      "/suid/busybox id -u; /suid/busybox grep CapEff /proc/self/status; /suid/busybox cat "
                      "/proc/self/mounts | grep ' / '"});
  spec.layers.push_back(f.import(tar));
  const auto tried = try_it(f, spec);
  INFO(tried.output);
  CHECK_THAT(tried.output, Contains("65532\n") && Contains("CapEff:\t0000000000000000") && Contains("ro,"));
}

TEST_CASE("images made for a hole of runc: nothing of the host is read or written") {
  const Canary host;
  RunnerFixture f;
  const auto before = digest_of_runtime();

  SECTION("CVE-2019-5736: the entry point is /proc/self/exe") {
    Tar tar;
    tar.file("entry", "#!/proc/self/exe\n", 0755).symlink("direct", "/proc/self/exe");
    const Digest layer = f.import(tar);
    for (const char* entry : {"/entry", "/direct", "/proc/self/exe"}) {
      auto spec = f.spec({entry, "init"});
      spec.layers.push_back(layer);
      const auto tried = try_it(f, spec);
      INFO(entry << ": " << tried.output);
      CHECK((tried.output.starts_with("refused: ") || !tried.exit.status.ok()));
    }
  }
  SECTION("CVE-2024-21626: the working folder is a descriptor of the runtime's") {
    Tar tar;
    for (int fd = 3; fd < 16; ++fd) tar.symlink(fmt::format("door{}", fd), fmt::format("/proc/self/fd/{}", fd));
    const Digest layer = f.import(tar);
    for (int fd = 3; fd < 16; ++fd) {
      auto spec = f.spec(
          {"/bin/sh", "-c", fmt::format("pwd; ls ../../../..{0} ../../..{0} .{0} 2>/dev/null && echo HOST", canary)});
      spec.layers.push_back(layer);
      spec.process.working_folder = fmt::format("/door{}", fd);
      CHECK_THAT(try_it(f, spec).output, !Contains("HOST"));
      spec.id = InstanceId::random();
      spec.process.working_folder = fmt::format("/proc/self/fd/{}", fd);
      CHECK_THAT(try_it(f, spec).output, Contains("refused: the working folder"));
    }
  }
  SECTION("CVE-2025-31133, CVE-2025-52565, CVE-2025-52881: links where the runtime masks, mounts and writes") {
    Tar tar;
    tar.folder("dev").folder("etc");
    for (const char* name : {"dev/null", "dev/console", "dev/pts", "dev/shm", "dev/ptmx", "dev/fd", "etc/resolv.conf",
                             "etc/hosts", "etc/hostname"})
      tar.symlink(name, canary);
    Tar folders;
    for (const char* name : {"proc", "sys", "tmp"}) folders.symlink(name, "/var/tmp");
    for (const auto& layers : {std::vector{f.import(tar)}, {f.import(folders)}, {f.import(tar), f.import(folders)}}) {
      auto spec =
          f.spec({"/bin/sh", "-c",
                  "cat /proc/self/attr/current 2>/dev/null; echo x > /dev/null; echo y > /tmp/y; "
                  "test -c /dev/null && test ! -e /dev/console && test -d /dev/pts && test -f /etc/resolv.conf && "
                  "echo real; echo 1 2>/dev/null > /proc/sys/kernel/ns_last_pid; head -c 1 /proc/kcore | wc -c"});
      spec.layers.insert(spec.layers.end(), layers.begin(), layers.end());
      const auto tried = try_it(f, spec);
      INFO(tried.output);
      CHECK_THAT(tried.output, Contains("real"));
    }
    CHECK(::access("/var/tmp/y", F_OK) != 0);
  }
  CHECK(*read_file(canary) == "host\n");
  CHECK(digest_of_runtime() == before);
  CHECK(f.leftovers().empty());
}

TEST_CASE("an image that comes with files in /dev, /proc and /sys shows none of them") {
  RunnerFixture f;
  Tar tar;
  tar.folder("dev")
      .file("dev/evil", "x")
      .folder("proc")
      .folder("proc/self")
      .file("proc/self/evil", "x")
      .folder("sys")
      .file("sys/evil", "x");
  auto spec =
      f.spec({"/bin/sh", "-c", "ls -d /dev/evil /proc/self/evil /sys/evil 2>/dev/null; ls /sys/class/net; echo end"});
  spec.layers.push_back(f.import(tar));
  const auto tried = try_it(f, spec);
  INFO(tried.output);
  CHECK_THAT(tried.output, !Contains("evil"));
  // and of the network only its own
  CHECK(tried.output == "eth0\nlo\nend\n");
}

TEST_CASE("Knative's runtime contract holds inside: files and modes, standard input, read-only settings") {
  RunnerFixture f;
  auto spec = f.spec({"/bin/sh", "-c", R"(
    for d in /dev/full /dev/null /dev/ptmx /dev/random /dev/tty /dev/urandom /dev/zero; do stat -L -c '%n %a %F' $d; done
    for l in /dev/fd /dev/stdin /dev/stdout /dev/stderr; do test -L $l && echo $l link; done
    stat -c '%n %a' /tmp /dev/shm; test -f /etc/resolv.conf && echo resolv; test -e /dev/console || echo no-console
    cat; echo eof; head -c 4 /dev/urandom | wc -c; echo x > /dev/full || echo full
    grep -E ' cgroup2? ' /proc/self/mounts | grep -vc ' ro,'
    grep ' /proc/sys ' /proc/self/mounts | cut -c1-30
    cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null
    df -k /tmp | grep -o ' 8192 '; id -u; umask; cat /proc/sys/net/ipv4/ip_unprivileged_port_start
  )"});
  spec.limits.cpu_millis = 500;
  spec.limits.pids = 77;
  spec.limits.tmp_bytes = 8 << 20;
  const auto tried = try_it(f, spec);
  INFO(tried.output);
  for (const char* device : {"full", "null", "ptmx", "random", "tty", "urandom", "zero"})
    CHECK_THAT(tried.output, Contains(fmt::format("/dev/{} 666 character special file", device)));
  for (const char* link : {"fd", "stdin", "stdout", "stderr"})
    CHECK_THAT(tried.output, Contains(fmt::format("/dev/{} link", link)));
  CHECK_THAT(tried.output, Contains("/tmp 1777\n/dev/shm 1777\nresolv\nno-console\neof\n4\n"));
  CHECK_THAT(tried.output, Contains("full\n0\nproc /proc/sys proc ro,"));
  CHECK_THAT(tried.output, Contains("50000") && Contains("77\n") && Contains(" 8192 \n65532\n0022\n0\n"));
}

TEST_CASE("bombs stop at their limits and another service goes on answering") {
  RunnerFixture f;
  auto victim = f.spec({"/bin/sh", "-c", "exec nc -ll -p 8080 -e /bin/echo fine"});
  f.launch(victim);
  const std::vector<std::pair<const char*, const char*>> bombs{
      {"fork", "while true; do sh -c 'while true; do (sleep 60 &) ; done' & done"},
      {"files", "n=3; while true; do eval \"exec $n</dev/null\" || break; n=$((n+1)); done 2>/dev/null; sleep 60"},
      {"disk", "dd if=/dev/zero of=/tmp/a bs=1M; dd if=/dev/zero of=/dev/shm/a bs=1M; sleep 60"},
      {"memory", "while true; do x=$x$x$x$x.0123456789abcdef; done"},
      {"cpu", "while true; do :; done"},
  };
  std::vector<InstanceSpec> specs;
  for (const auto& [name, script] : bombs) {
    auto spec = f.spec({"/bin/sh", "-c", script});
    spec.id_range = 10 + static_cast<std::uint32_t>(specs.size());
    spec.limits.pids = 32;
    spec.limits.tmp_bytes = 4 << 20;
    f.launch(spec);
    specs.push_back(spec);
  }
  int answered = 0;
  for (int i = 0; i < 50; ++i) {
    auto socket = f.run(f.runner().connect(victim.id, 8080, 1));
    if (!socket) continue;
    char text[8] = {};
    ::fcntl(socket->front().get(), F_SETFL, 0);
    if (::read(socket->front().get(), text, sizeof text) == 5) ++answered;
  }
  CHECK(answered >= 49);  // the first may come before it listens
  for (const auto& spec : specs) {
    auto usage = f.run(f.runner().usage(spec.id));
    if (!usage) continue;  // ended by then: out of memory
    CHECK(usage->pids <= 32);
    CHECK(usage->memory_bytes <= spec.limits.memory_bytes);
  }
  for (const auto& spec : specs) value_of(f.run(f.runner().remove(spec.id)));
  value_of(f.run(f.runner().remove(victim.id)));
  CHECK(f.leftovers().empty());
}
