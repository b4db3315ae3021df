// A Debian root from the network. Hidden: run with `container_test "[network]"`.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "runner_fixture.hpp"

using namespace wick;
using namespace wick::container;
using namespace wick::container::testing;
using Catch::Matchers::Contains;

TEST_CASE("a bootstrapped Debian is a layer in which apt works", "[.][network]") {
  RunnerFixture f;
  Fd tar = value_of(open_file(f.folder() / "debian.tar", O_RDWR | O_CREAT, 0600));
  value_of(f.run(f.runner().bootstrap("bookworm", tar.duplicate())));
  Sha256 hash;
  std::vector<char> chunk(1 << 20);
  ::lseek(tar.get(), 0, SEEK_SET);
  for (ssize_t got; (got = ::read(tar.get(), chunk.data(), chunk.size())) > 0;)
    hash.update({chunk.data(), static_cast<std::size_t>(got)});
  const Digest layer = hash.finish();
  ::lseek(tar.get(), 0, SEEK_SET);
  value_of(f.run(f.runner().import_layer(layer, tar.duplicate())));

  const auto step = InstanceId::random();
  value_of(f.run(f.runner().open_step(step, {layer})));
  auto spec = f.spec(
      {"/bin/sh", "-ec", "apt-get update; apt-get install -y --no-install-recommends jq; echo '{\"a\":1}' | jq .a"});
  spec.layers.clear();
  spec.step = step;
  spec.id_range = store_id_range;
  spec.privileges = Privileges::build;
  spec.process.uid = spec.process.gid = 0;
  spec.process.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"};
  spec.limits = {.memory_bytes = 1 << 30, .cpu_millis = 2000, .pids = 512};
  f.launch(spec);
  while (f.exits.empty()) {
    f.loop().restart();
    f.loop().run_one_for(std::chrono::milliseconds(100));
  }
  INFO(f.log_of(spec.id));
  CHECK(f.exits.front().status.ok());
  CHECK_THAT(f.log_of(spec.id), Contains("\n1\n"));
  value_of(f.run(f.runner().remove(spec.id)));
  const Fd out = file_of("");
  value_of(f.run(f.runner().pack_step(step, out.duplicate(), 1'600'000'000)));
  value_of(f.run(f.runner().discard_step(step)));
  CHECK(f.leftovers().empty());
}
