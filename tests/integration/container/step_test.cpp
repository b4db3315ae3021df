// Layers and build steps.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner_fixture.hpp"
#include "wick/base/text.hpp"

using namespace wick;
using namespace wick::container;
using namespace wick::container::testing;
using Catch::Matchers::Contains;

namespace {

Fd empty_file() { return file_of(""); }

std::string bytes_of(const Fd& fd) {
  ::lseek(fd.get(), 0, SEEK_SET);
  return value_of(read_all(fd.get()));
}

InstanceSpec run_step(RunnerFixture& f, const InstanceId& step, std::string script) {
  auto spec = f.spec({"/bin/sh", "-c", std::move(script)});
  spec.layers.clear();
  spec.step = step;
  spec.id_range = store_id_range;
  spec.privileges = Privileges::build;
  spec.process.uid = spec.process.gid = 0;
  return spec;
}

}  // namespace

TEST_CASE("copy, run, pack and publish make a layer that runs without a round trip") {
  RunnerFixture f;
  const auto step = InstanceId::random();
  value_of(f.run(f.runner().open_step(step, f.busybox())));
  Tar copy;
  copy.folder("app").file("app/run.sh", "#!/bin/sh\necho made by $(cat /app/made)\n", 0755);
  value_of(f.run(f.runner().unpack_into(step, file_of(copy.bytes()), Runner::Clash::refuse)));

  const auto spec = run_step(f, step,
                             "id -u; echo step > /app/made; rm /www/index.html; chown 1000:1000 /app/made; mkdir -p "
                             "/var/x; cat /etc/resolv.conf | wc -c");
  const auto exit = f.run_to_exit(spec);
  INFO(f.log_of(spec.id));
  CHECK(exit.status.ok());
  CHECK_THAT(f.log_of(spec.id), Contains("0\n"));

  const Fd tar = empty_file();
  value_of(f.run(f.runner().pack_step(step, tar.duplicate(), 1'600'000'000)));
  const std::string bytes = bytes_of(tar);
  CHECK_THAT(bytes, Contains("app/made") && Contains("www/.wh.index.html") && !Contains("etc/resolv.conf") &&
                        !Contains("etc/hosts"));
  const Fd again = empty_file();
  value_of(f.run(f.runner().pack_step(step, again.duplicate(), 1'600'000'000)));
  CHECK(bytes_of(again) == bytes);
  const Digest layer = Digest::of(bytes);

  value_of(f.run(f.runner().publish_step(step, layer)));
  CHECK(value_of(f.run(f.runner().has_layer(layer))));
  auto service = f.spec({"/app/run.sh"});
  service.layers = {f.busybox().front(), layer};
  CHECK(f.run_to_exit(service).status.ok());
  CHECK(f.log_of(service.id) == "made by step\n");
  service.id = InstanceId::random();
  service.process.argv = {"/bin/sh", "-c", "ls /www; stat -c %u:%g /app/made"};
  f.run_to_exit(service);
  CHECK(f.log_of(service.id) == "1000:1000\n");

  // The packed tar, imported elsewhere, is the same layer.
  RunnerFixture other;
  value_of(other.run(other.runner().import_layer(layer, file_of(bytes))));
  service.id = InstanceId::random();
  service.process.argv = {"/app/run.sh"};
  CHECK(other.run_to_exit(service).status.ok());
  CHECK(other.log_of(service.id) == "made by step\n");
  CHECK(f.leftovers().empty());
}

TEST_CASE("a step has one user at a time and dies with discard") {
  RunnerFixture f;
  const auto step = InstanceId::random();
  value_of(f.run(f.runner().open_step(step, f.busybox())));
  CHECK(f.run(f.runner().open_step(step, f.busybox())).error().code() == Errc::already_exists);
  const auto spec = run_step(f, step, "sleep 1000");
  f.launch(spec);
  CHECK(f.run(f.runner().publish_step(step, Digest::of("x"))).error().code() == Errc::conflict);
  CHECK(f.run(f.runner().remove_layer(f.busybox().front())).error().code() == Errc::conflict);
  value_of(f.run(f.runner().remove(spec.id)));
  value_of(f.run(f.runner().discard_step(step)));
  value_of(f.run(f.runner().discard_step(step)));
  CHECK(f.run(f.runner().unpack_into(step, file_of(Tar().bytes()), Runner::Clash::refuse)).error().code() ==
        Errc::not_found);
  CHECK(f.leftovers().empty());
  CHECK(value_of(f.run(f.runner().remove_layer(f.busybox().front()))) > 100'000);  // a shell and what it needs
  CHECK_FALSE(value_of(f.run(f.runner().has_layer(f.busybox().front()))));
  CHECK(f.run(f.runner().remove_layer(f.busybox().front())).error().code() == Errc::not_found);
}

TEST_CASE("files of an image come out as a tar, users by its passwd") {
  RunnerFixture f;
  const Fd out = empty_file();
  value_of(f.run(f.runner().pack(f.busybox(), "www/index.html", "srv/page.html", out.duplicate())));
  CHECK_THAT(bytes_of(out), Contains("srv/page.html") && Contains("hello from inside"));
  CHECK_FALSE(f.run(f.runner().pack(f.busybox(), "nowhere", "x", empty_file())));

  const auto app = value_of(f.run(f.runner().resolve_user(f.busybox(), "app")));
  CHECK(app.uid == 1000);
  CHECK(app.groups == std::vector<std::uint32_t>{50});
  CHECK(value_of(f.run(f.runner().resolve_user(f.busybox(), "1234:staff"))).gid == 50);
  const auto missing = f.run(f.runner().resolve_user(f.busybox(), "nobody-here"));
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code() == Errc::not_found);
  CHECK_THAT(missing.error().what(), Contains("nobody-here"));
}

TEST_CASE("a tar that is none, or that reaches out, is refused and leaves no layer") {
  RunnerFixture f;
  const Digest layer = Digest::of("whatever");
  CHECK_FALSE(f.run(f.runner().import_layer(layer, file_of("this is no tar at all"))));
  CHECK_FALSE(value_of(f.run(f.runner().has_layer(layer))));
  Tar out;
  out.symlink("escape", "/").file("escape/var/tmp/wick-escaped", "x");
  (void)f.run(f.runner().import_layer(layer, file_of(out.bytes())));
  CHECK(::access("/var/tmp/wick-escaped", F_OK) != 0);
  std::size_t incoming = 0;
  for (const auto& entry : std::filesystem::directory_iterator(f.folder() / "state/layers"))
    if (entry.path().filename().string().starts_with("incoming-")) ++incoming;
  CHECK(incoming == 0);
}

TEST_CASE("after a power cut a layer that is whole stays, and one that is torn or foreign is gone") {
  RunnerFixture f;
  const auto publish = [&f](std::string content) {
    const auto step = InstanceId::random();
    value_of(f.run(f.runner().open_step(step, f.busybox())));
    Tar copy;
    copy.file("content", content);
    value_of(f.run(f.runner().unpack_into(step, file_of(copy.bytes()), Runner::Clash::refuse)));
    const Fd tar = empty_file();
    value_of(f.run(f.runner().pack_step(step, tar.duplicate(), 1'600'000'000)));
    const auto layer = Digest::of(bytes_of(tar));
    value_of(f.run(f.runner().publish_step(step, layer)));
    return layer;
  };
  const auto whole = publish("whole");
  const auto torn = publish("torn");
  f.stop_runner();
  const auto layers = f.folder() / "state/layers";
  // As a disk looks afterwards: names and marks are there, of another boot, and bytes that were not written are not.
  const auto marks = layers / "fresh" / "a-boot-before";
  std::filesystem::create_directories(marks);
  for (const auto& layer : {whole, torn}) value_of(write_file(marks / layer.hex(), ""));
  value_of(write_file(marks / "no digest", ""));
  value_of(write_file(marks / Digest::of("gone already").hex(), ""));
  std::filesystem::resize_file(layers / "sha256" / torn.hex() / "content", 0);
  f.start_runner();
  CHECK(value_of(f.run(f.runner().has_layer(whole))));
  CHECK_FALSE(value_of(f.run(f.runner().has_layer(torn))));
  CHECK(value_of(f.run(f.runner().has_layer(f.busybox().front()))));
  CHECK_FALSE(std::filesystem::exists(marks));
}
