// A control plane, and what the API takes of it.
#pragma once

#include "fake_images.hpp"
#include "unit/control/control_fixture.hpp"
#include "wick/api/api.hpp"

namespace wick {

struct ApiParts : ControlFixture {
  std::unique_ptr<store::Database> access_database = store::Database::open(":memory:", api::migrations()).value();
  FakeImages api_images;

  /// Nobody has logs, and there is no doctor. After start().
  api::Doors doors() {
    return {.executor = loop.get_executor(),
            .clock = clock,
            .workers = workers,
            .metrics = metrics,
            .database = *access_database,
            .objects = *objects,
            .control = *control,
            .serving = *serving,
            .eventing = eventing,
            .images = api_images,
            .logs = [](std::string_view) { return std::vector<container::RunnerLauncher::LogFile>(); },
            .doctor = {},
            .ready = {},
            .uploads = options.uploads,
            .info = {}};
  }
};

}  // namespace wick
