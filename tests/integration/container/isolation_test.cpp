// What an instance sees of the machine, asked from inside.
#include <signal.h>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner_fixture.hpp"
#include "wick/base/text.hpp"

using namespace wick;
using namespace wick::container;
using namespace wick::container::testing;
using Catch::Matchers::Contains;

namespace {

struct Shell {
  Exit exit;
  std::string output;
};

Shell shell(RunnerFixture& f, std::string script, std::function<void(InstanceSpec&)> change = {}) {
  auto spec = f.spec({"/bin/sh", "-c", std::move(script)});
  if (change) change(spec);
  const Exit exit = f.run_to_exit(spec);
  return {.exit = exit, .output = f.log_of(spec.id)};
}

}  // namespace

TEST_CASE("a service is nobody: no capability, seccomp, no new privileges, a user namespace of its range") {
  RunnerFixture f;
  const auto seen = shell(f, "id; cat /proc/self/status; cat /proc/self/uid_map; cat /proc/self/gid_map; echo cwd $PWD",
                          [](InstanceSpec& spec) {
                            spec.id_range = 3;
                            spec.process.groups = {50};
                          });
  INFO(seen.output);
  CHECK(seen.exit.status.ok());
  CHECK_THAT(seen.output, Contains("uid=65532 gid=65532 groups=50"));
  for (const char* line : {"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
                           "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"})
    CHECK_THAT(seen.output, Contains(line));
  CHECK_THAT(seen.output, Contains(fmt::format("{}      65536", id_range_base + 3 * id_range_size)));
}

TEST_CASE("a service's root is read-only, with a /tmp of its own, and nothing of the host in it") {
  RunnerFixture f;
  value_of(write_file("/var/tmp/wick-canary", "host\n"));
  const auto seen = shell(f, R"(
    touch /file 2>&1; touch /bin/file 2>&1
    stat -c 'tmp %a %u' /tmp; echo x > /tmp/x && echo tmp-written
    dd if=/dev/zero of=/tmp/big bs=1M count=100 2>&1 | grep space
    test -e /var/tmp/wick-canary && echo HOST-FILE; ls -d /root /home /var 2>/dev/null
    ls /proc | grep -E '^[0-9]+$' | wc -l
    wc -c < /proc/kcore; cat /proc/timer_list | wc -c; ls /sys/firmware | wc -l
    echo 1 > /proc/sys/kernel/hostname; echo 1 > /proc/sysrq-trigger
    ls -l /proc/self/fd | wc -l
    for f in fd full null ptmx random stdin stdout stderr tty urandom zero; do test -e /dev/$f || echo missing $f; done; test -e /dev/console && echo HAS-CONSOLE
    test -e /etc/resolv.conf && echo has-resolv; cat /etc/hosts | grep -c localhost
    ls /dev | grep -E 'vda|mem|kmsg|fuse'
    cat; echo eof
  )",
                          [](InstanceSpec& spec) { spec.limits.memory_bytes = 256 << 20; });
  ::unlink("/var/tmp/wick-canary");
  INFO(seen.output);
  CHECK_THAT(seen.output,
             Contains("touch: /file: Read-only file system") && Contains("touch: /bin/file: Read-only file system"));
  CHECK_THAT(seen.output, Contains("tmp 1777 0") && Contains("tmp-written") && Contains("No space left"));
  CHECK_THAT(seen.output, !Contains("HOST-FILE") && !Contains("missing ") && !Contains("HAS-CONSOLE"));
  CHECK_THAT(seen.output, Contains("has-resolv") && Contains("eof"));
  CHECK_THAT(seen.output, Contains("can't create /proc/sys/kernel/hostname: Read-only file system"));
  CHECK_THAT(seen.output, Contains("/proc/sysrq-trigger") && Contains("can't open /proc/kcore"));
  for (const char* device : {"vda", "kmsg", "fuse"}) CHECK_THAT(seen.output, !Contains(device));
}

TEST_CASE("a service cannot mount, unshare, become root or see another network") {
  RunnerFixture f;
  const auto without_egress = [](InstanceSpec& spec) { spec.egress.base = Egress::none; };
  const auto seen = shell(f, R"(
    mount -t tmpfs none /tmp 2>&1; unshare -U true 2>&1; unshare -n true 2>&1
    chroot / /bin/true 2>&1; mknod /tmp/d c 1 1 2>&1
    ip addr; echo routes $(ip route | wc -l)
    ls -l /proc/self/fd/
    readlink /proc/self/fd/3 || echo no-third-fd
    kill -9 1; echo still-here
    cat /proc/1/environ > /dev/null && echo own-environ
  )",
                          without_egress);
  INFO(seen.output);
  CHECK_THAT(seen.output, Contains("mount: permission denied") ||
                              Contains("mount: mounting none on /tmp failed: Operation not permitted"));
  CHECK_THAT(seen.output, Contains("unshare: unshare(0x10000000): Operation not permitted"));
  CHECK_THAT(seen.output, Contains("unshare: unshare(0x40000000): Operation not permitted"));
  CHECK_THAT(seen.output, Contains("chroot: can't change root directory to '/': Operation not permitted"));
  CHECK_THAT(seen.output, Contains("mknod: /tmp/d: Operation not permitted"));
  CHECK_THAT(seen.output, Contains("LOOPBACK") && Contains("routes 0") && !Contains("eth0"));
  CHECK_THAT(seen.output, Contains("no-third-fd") && Contains("still-here"));
}

TEST_CASE("limits are kept: memory, processes, open files") {
  RunnerFixture f;
  SECTION("an instance over its memory is killed and said to be") {
    const auto seen = shell(f, "dd if=/dev/zero of=/dev/null bs=200M count=1; exit $?");
    INFO(seen.output);
    CHECK_THAT(seen.output, !Contains("survived"));
    CHECK(seen.exit.out_of_memory);
  }
  SECTION("a fork bomb stops at the limit") {
    const auto seen = shell(f, "i=0; while [ $i -lt 200 ]; do sleep 5 & i=$((i+1)); done; echo made $i",
                            [](InstanceSpec& spec) { spec.limits.pids = 20; });
    INFO(seen.output);
    CHECK_THAT(seen.output, Contains("can't fork"));
  }
  SECTION("the control group says what was asked for") {
    const auto seen = shell(f,
                            "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; "
                            "touch /sys/fs/cgroup/x");
    CHECK_THAT(seen.output,
               Contains("67108864") && (Contains("Read-only file system") || Contains("Permission denied")));
  }
}

TEST_CASE("exit codes and signals come back") {
  RunnerFixture f;
  CHECK(shell(f, "exit 7").exit.status.code == 7);
  CHECK(shell(f, "true").exit.status.ok());
  const auto spec = f.spec({"/bin/sleep", "1000"});
  f.launch(spec);
  CHECK(value_of(f.run(f.runner().list())).front().state == Existing::State::running);
  value_of(f.run(f.runner().signal(spec.id, SIGKILL)));
  const auto exit = f.wait_exit(spec.id);
  CHECK(exit.status.signal == SIGKILL);
  CHECK(exit.known);
  CHECK_FALSE(exit.out_of_memory);
  value_of(f.run(f.runner().remove(spec.id)));
  CHECK(f.exits.size() == 3);
  CHECK(f.leftovers().empty());
}

TEST_CASE("what cannot run says why and leaves nothing") {
  RunnerFixture f;
  Tar broken;
  broken.folder("app")
      .file("app/data", "x", 0644)
      .file("app/garbage", "not a program", 0755)
      .file("app/script", "#!/nope\n", 0755);
  const Digest layer = f.import(broken);
  const auto fails = [&](std::vector<std::string> argv, std::string folder) {
    auto spec = f.spec(std::move(argv));
    spec.layers.push_back(layer);
    spec.process.working_folder = std::move(folder);
    auto prepared = f.run(f.runner().prepare(spec, f.open_log(spec.id)));
    if (!prepared) return prepared.error();
    auto started = f.run(f.runner().start(spec.id));
    REQUIRE_FALSE(started);
    return started.error();
  };
  CHECK(fails({"/app/missing"}, "/").what() == "the command '/app/missing' is not in the image");
  CHECK(fails({"missing"}, "/").what() == "the command 'missing' is not in the image");
  CHECK(fails({"/app/data"}, "/").what() == "the command '/app/data' is not executable for user 65532");
  CHECK(fails({"/app/garbage"}, "/").what() ==
        "the command '/app/garbage' is not a program of this machine (exec format error)");
  CHECK(fails({"/app/script"}, "/").what() == "the interpreter or loader of '/app/script' is not in the image");
  CHECK(fails({"/bin/true"}, "/nowhere/else").what() == "the working folder '/nowhere/else' is not in the image");
  CHECK(f.leftovers().empty());
  CHECK(f.exits.empty());

  auto spec = f.spec({"/bin/true"});
  spec.layers = {Digest::of("nothing")};
  CHECK(f.run(f.runner().prepare(spec, f.open_log(spec.id))).error().code() == Errc::not_found);
  spec = f.spec({"/bin/true"});
  spec.process.uid = 0;
  CHECK(f.run(f.runner().prepare(spec, f.open_log(spec.id))).error().code() == Errc::denied);
  CHECK(f.leftovers().empty());
}

TEST_CASE("two services share one layer on disk and see themselves as its owner") {
  RunnerFixture f;
  Tar tar;
  tar.folder("data", 0700, 1000).file("data/secret", "s3cret\n", 0600, 1000);
  const Digest layer = f.import(tar);
  for (const std::uint32_t range : {7U, 9U}) {
    const auto seen = shell(f, "stat -c '%u %g %a' /data/secret; cat /data/secret", [&](InstanceSpec& spec) {
      spec.layers.push_back(layer);
      spec.id_range = range;
      spec.process.uid = spec.process.gid = 1000;
    });
    CHECK(seen.output == "1000 1000 600\ns3cret\n");
  }
  struct stat info{};
  REQUIRE(::stat((f.folder() / "state/layers/sha256" / layer.hex() / "data/secret").c_str(), &info) == 0);
  CHECK(info.st_uid == id_range_base + 1000);
  // A user of the image that owns nothing there does not get in.
  CHECK_THAT(shell(f, "cat /data/secret 2>&1", [&](InstanceSpec& spec) { spec.layers.push_back(layer); }).output,
             Contains("Permission denied"));
}

TEST_CASE("an image with links in the places of /proc, /dev, /sys and /tmp is given real folders") {
  RunnerFixture f;
  Tar tar;
  for (const char* name : {"proc", "dev", "sys"}) tar.symlink(name, "/etc");
  const Digest links = f.import(tar);
  Tar over;
  over.folder("evil").symlink("evil/null", "/etc/passwd");
  auto spec = f.spec(
      {"/bin/sh", "-c",
       "test -L /proc || echo real; test -L /dev || echo real; test -c /dev/null && echo null; cat /proc/self/comm"});
  spec.layers.push_back(links);
  f.run_to_exit(spec);
  CHECK(f.log_of(spec.id) == "real\nreal\nnull\ncat\n");
}
