// Volumes of a service, seen from inside: what can be written, what can be read, whose it is, and what is left.
#include <signal.h>

#include <fmt/format.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "runner_fixture.hpp"

using namespace wick;
using namespace wick::container;
using namespace wick::container::testing;
using Catch::Matchers::Contains;

namespace {

InstanceSpec with_volumes(RunnerFixture& f, std::string script) {
  auto spec = f.spec({"/bin/sh", "-c", std::move(script)});
  spec.id_range = 7;
  spec.volumes = {
      {.bytes_max = 1 << 20},
      {.files = {{"key", 0400, "s3cret"}, {"deep/er/word", 0444, "word"}, {"raw", 0644, std::string("\0\1", 2)}}}};
  return spec;
}

std::string mounts_of(pid_t pid) { return value_of(read_file(fmt::format("/proc/{}/mountinfo", pid))); }

}  // namespace

TEST_CASE("a service writes to its empty volume, up to its size, and reads the files of the other") {
  RunnerFixture f;
  auto spec = with_volumes(f, R"(
    stat -c 'data %a %u' /data; echo one > /data/a && cat /other/a; touch /read-only/a 2>&1
    ls /data; dd if=/dev/zero of=/data/big bs=64k count=40 2>&1 | grep -c space; rm /data/big
    echo in-sub > /srv/deep/sub/b && cat /data/x/y/b
    stat -Lc 'key %a %u %g' /etc/keys/key; cat /etc/keys/key 2>&1; cat /etc/keys/deep/er/word; echo
    wc -c < /etc/keys/raw; touch /etc/keys/more 2>&1; touch /srv/beside 2>&1; cat /tmp/one-file; echo
  )");
  spec.volume_mounts = {{.volume = 0, .target = "/srv/deep/sub", .sub_path = "x/y", .writable = true},
                        {.volume = 0, .target = "/data", .writable = true},
                        {.volume = 0, .target = "/other", .writable = true},
                        {.volume = 0, .target = "/read-only"},
                        {.volume = 1, .target = "/tmp/one-file", .sub_path = "deep/er/word"},
                        {.volume = 1, .target = "/etc/keys"}};
  const auto exit = f.run_to_exit(spec);
  const auto output = f.log_of(spec.id);
  INFO(output);
  CHECK(exit.status.ok());
  CHECK_THAT(output, Contains("data 777 0\none\n") && Contains("touch: /read-only/a: Read-only file system"));
  CHECK_THAT(output, Contains("1\nin-sub\n"));
  CHECK_THAT(output, Contains("key 400 0 0\n") && Contains("can't open '/etc/keys/key': Permission denied"));
  CHECK_THAT(output, Contains("\nword\n2\n") && Contains("touch: /etc/keys/more: Read-only file system"));
  CHECK_THAT(output, Contains("touch: /srv/beside: Read-only file system"));
  CHECK_THAT(output, Contains("Read-only file system\nword\n"));
  CHECK(f.leftovers().empty());
  CHECK_THAT(mounts_of(f.runner_pid()), !Contains("/v/" + std::string(spec.id.text())));
}

TEST_CASE("an image's links do not lead a volume out of its root, and its files stay below it") {
  RunnerFixture f;
  Tar tar;
  tar.folder("run").folder("var").symlink("var/run", "/run").symlink("out", "../../../../../..");
  tar.folder("app", 0755, 1000).file("app/own", "of the image\n");
  auto spec = with_volumes(f, R"(
    cat /run/secrets/deep/er/word; echo; cat /here/deep/er/word; echo; cat /app/own; cat /app/conf/deep/er/word; echo
    stat -c 'app %a %u' /app; ls / | grep -c here
  )");
  spec.layers.push_back(f.import(tar));
  spec.volume_mounts = {{.volume = 1, .target = "/var/run/secrets"},
                        {.volume = 1, .target = "/out/here"},
                        {.volume = 1, .target = "/app/conf"}};
  const auto exit = f.run_to_exit(spec);
  const auto output = f.log_of(spec.id);
  INFO(output);
  CHECK(exit.status.ok());
  CHECK(output == "word\nword\nof the image\nword\napp 755 1000\n1\n");
  CHECK_FALSE(std::filesystem::exists("/here"));
  CHECK(f.leftovers().empty());
}

TEST_CASE("a folder cannot be mounted on a file of the image, and nothing of the attempt is left") {
  RunnerFixture f;
  auto spec = with_volumes(f, "echo never");
  spec.volume_mounts = {{.volume = 1, .target = "/bin/busybox"}};
  const auto refused = f.run(f.runner().prepare(spec, f.open_log(spec.id)));
  REQUIRE_FALSE(refused);
  INFO(refused.error().what());
  CHECK_THAT(refused.error().what(), Contains("busybox"));
  CHECK(f.leftovers().empty());
  CHECK_THAT(mounts_of(f.runner_pid()), !Contains("/v/"));
}

TEST_CASE("the volumes of an instance outlive the runner that made them") {
  RunnerFixture f;
  auto spec =
      with_volumes(f, "until test -e /data/go; do sleep 0.05; done; cat /etc/keys/deep/er/word; ls -d /data /etc/keys");
  spec.process.uid = 0;
  spec.allow_root = true;
  spec.volume_mounts = {{.volume = 0, .target = "/data", .writable = true}, {.volume = 1, .target = "/etc/keys"}};
  const auto pid = f.launch(spec).pid;
  ::kill(f.runner_pid(), SIGKILL);
  f.stop_runner();
  f.start_runner();
  REQUIRE(value_of(f.run(f.runner().list())).size() == 1);
  value_of(write_file(fmt::format("/proc/{}/root/data/go", pid), ""));
  const auto exit = f.wait_exit(spec.id);
  INFO(f.log_of(spec.id));
  CHECK(exit.status.ok());
  CHECK(f.log_of(spec.id) == "word/data\n/etc/keys\n");
  value_of(f.run(f.runner().remove(spec.id)));
  CHECK(f.leftovers().empty());
}

TEST_CASE("files of an instance that runs are replaced all at once, under the kubelet's ..data") {
  RunnerFixture f;
  auto spec = with_volumes(f, R"(
    exec 4< /keys/key
    until test -e /data/go; do sleep 0.05; done
    readlink /keys/..data | grep -cE '^\.\.[0-9_]+\.[0-9]+$'; readlink /keys/key; cat /keys/key; echo
    cat /again/key; echo; cat /one; echo; cat <&4; echo; ls /keys; stat -Lc '%a %u' /keys/added/x
    ls -A /keys | grep -c '^\.\.2'; touch /keys/more 2>&1
  )");
  spec.process.uid = 0;
  spec.allow_root = true;
  spec.volumes[1].files = {{"key", 0400, "old"}, {"gone", 0444, "gone"}, {"deep/er", 0444, "deep"}};
  spec.volume_mounts = {{.volume = 0, .target = "/data", .writable = true},
                        {.volume = 1, .target = "/keys"},
                        {.volume = 1, .target = "/again"},
                        {.volume = 1, .target = "/one", .sub_path = "key"}};
  const auto pid = f.launch(spec).pid;
  const auto root = fmt::format("/proc/{}/root", pid);
  while (!std::filesystem::exists(fmt::format("/proc/{}/fd/4", pid))) ::usleep(1000);
  const Fd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  REQUIRE(::inotify_add_watch(watch.get(), (root + "/keys").c_str(), IN_MOVED_TO) > 0);

  // The same again changes nothing; a watcher of the folder, as viper and fsnotify have it, sees the one that does.
  value_of(f.run(f.runner().update_volumes(spec.id, spec.volumes, spec.volume_mounts)));
  char event[sizeof(inotify_event) + 256];
  CHECK(::read(watch.get(), event, sizeof event) == -1);
  auto volumes = spec.volumes;
  volumes[1].files = {{"key", 0440, "new"}, {"deep/er", 0444, "deeper"}, {"added/x", 0600, std::string(3 << 20, 'x')}};
  value_of(f.run(f.runner().update_volumes(spec.id, volumes, spec.volume_mounts)));
  REQUIRE(::read(watch.get(), event, sizeof event) > 0);
  CHECK(std::string_view(reinterpret_cast<inotify_event*>(event)->name) == "..data");

  value_of(write_file(root + "/data/go", ""));
  f.wait_exit(spec.id);
  const auto output = f.log_of(spec.id);
  INFO(output);
  CHECK(output ==
        "1\n..data/key\nnew\nnew\nold\nold\nadded\ndeep\nkey\n600 0\n1\n"
        "touch: /keys/more: Read-only file system\n");
  value_of(f.run(f.runner().remove(spec.id)));
  CHECK(f.leftovers().empty());
}

TEST_CASE("files can still be replaced by the next runner, in a frozen instance, and not where no volume is") {
  RunnerFixture f;
  auto spec = with_volumes(f, "trap 'cat /keys/deep/er/word; exit' TERM; while :; do sleep 0.05; done");
  spec.process.uid = 0;
  spec.allow_root = true;
  spec.volume_mounts = {{.volume = 0, .target = "/data", .writable = true}, {.volume = 1, .target = "/keys"}};
  f.launch(spec);
  ::kill(f.runner_pid(), SIGKILL);
  f.stop_runner();
  f.start_runner();
  value_of(f.run(f.runner().freeze(spec.id)));
  auto volumes = spec.volumes;
  volumes[1].files = {{"deep/er/word", 0444, "new word"}};
  value_of(f.run(f.runner().update_volumes(spec.id, volumes, spec.volume_mounts)));
  value_of(f.run(f.runner().thaw(spec.id)));

  volumes[0] = {.files = {{"key", 0444, "x"}}};
  auto mounts = spec.volume_mounts;
  mounts[0].writable = false;
  for (const auto* place : {"/data", "/tmp", "/bin", "/nowhere"}) {
    mounts[0].target = place;
    const auto refused = f.run(f.runner().update_volumes(spec.id, volumes, mounts));
    CAPTURE(place);
    REQUIRE_FALSE(refused);
    CHECK_THAT(refused.error().what(), Contains(place));
  }
  value_of(f.run(f.runner().signal(spec.id, SIGTERM)));
  f.wait_exit(spec.id);
  CHECK(f.log_of(spec.id) == "new word");
  const auto gone = f.run(f.runner().update_volumes(spec.id, volumes, mounts));
  CHECK_FALSE(gone);
  value_of(f.run(f.runner().remove(spec.id)));
  CHECK(f.leftovers().empty());
}

TEST_CASE("an instance that puts a folder of its own where a volume was is written to with its own rights alone") {
  RunnerFixture f;
  // Folders may be moved with what is mounted in them. What lies there then its owner may not write to.
  auto spec = with_volumes(f, R"(
    mv /data/a /data/moved; mkdir -p /data/a/keys; ln -s /etc /data/a/keys/..data; chmod 0555 /data/a/keys
    touch /data/done
    until test -e /data/go; do sleep 0.05; done
    ls -A /data/a/keys; cat /data/moved/keys/deep/er/word
  )");
  spec.process.uid = 0;
  spec.allow_root = true;
  spec.volume_mounts = {{.volume = 0, .target = "/data", .writable = true}, {.volume = 1, .target = "/data/a/keys"}};
  const auto pid = f.launch(spec).pid;
  const auto root = fmt::format("/proc/{}/root", pid);
  while (!std::filesystem::exists(root + "/data/done")) ::usleep(1000);
  auto volumes = spec.volumes;
  volumes[1].files = {{"added", 0444, "new"}};
  const auto refused = f.run(f.runner().update_volumes(spec.id, volumes, spec.volume_mounts));
  CHECK_FALSE(refused);
  value_of(write_file(root + "/data/go", ""));
  f.wait_exit(spec.id);
  CHECK(f.log_of(spec.id) == "..data\nword");
  value_of(f.run(f.runner().remove(spec.id)));
  CHECK(f.leftovers().empty());
}

TEST_CASE("what a program leaves in its message file comes with its end, also past the runner's") {
  RunnerFixture f;
  for (const auto* path : {"/dev/termination-log", "/tmp/end", "/var/run/deep/end"}) {
    CAPTURE(path);
    auto spec = f.spec({"/bin/sh", "-c", fmt::format("test -w {0} && echo no route > {0}; exit 3", path)});
    spec.message_path = path;
    const auto exit = f.run_to_exit(spec);
    INFO(f.log_of(spec.id));
    CHECK(exit.status.code == 3);
    CHECK(exit.message == "no route\n");
  }
  auto spec = f.spec({"/bin/sh", "-c", R"(
    i=0; while test $i -lt 1000; do echo far too long; i=$((i+1)); done > /dev/termination-log 2>/tmp/errors
    touch /tmp/full
    until test -e /data/go; do sleep 0.05; done
    exit 4)"});
  spec.volumes = {{.bytes_max = 1 << 20}};
  spec.volume_mounts = {{.volume = 0, .target = "/data", .writable = true}};
  spec.message_path = "/dev/termination-log";
  const auto pid = f.launch(spec).pid;
  while (!std::filesystem::exists(fmt::format("/proc/{}/root/tmp/full", pid))) ::usleep(1000);
  ::kill(f.runner_pid(), SIGKILL);
  f.stop_runner();
  f.start_runner();
  REQUIRE(value_of(f.run(f.runner().list())).size() == 1);  // it has been adopted
  value_of(write_file(fmt::format("/proc/{}/root/data/go", pid), ""));
  const auto exit = f.wait_exit(spec.id);
  CHECK(exit.message.size() == message_bytes_max);
  CHECK_THAT(exit.message, Contains("far too long\nfar too long"));
  value_of(f.run(f.runner().remove(spec.id)));
  const auto silent = f.run_to_exit(f.spec({"/bin/sh", "-c", "exit 5"}));
  CHECK(silent.message.empty());
  CHECK(f.leftovers().empty());
}
