// A launcher over a real runner, as the daemon has one.
#pragma once

#include "runner_fixture.hpp"
#include "wick/container/launcher.hpp"

namespace wick::container::testing {

/// Stopped before it goes.
struct Front {
  explicit Front(RunnerFixture& f)
      : f(f), launcher(f.loop().get_executor(), f.runner(), (f.folder() / "front-logs").string()) {}
  ~Front() { f.run(launcher.stop()); }
  std::shared_ptr<Instance> launch(InstanceSpec spec) {
    spec.id = {};
    return value_of(f.run(launcher.launch(std::move(spec), "default/hello-00001")));
  }
  /// Of a container of a pod; the first.
  std::string log_of(const std::string& container) {
    for (const auto& log : launcher.logs("default/hello-00001"))
      if (log.container == container) return value_of(read_file(log.path));
    return "no log";
  }

  RunnerFixture& f;
  RunnerLauncher launcher;
};

}  // namespace wick::container::testing
