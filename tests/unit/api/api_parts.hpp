// A control plane, and what the API takes of it.
#pragma once

#include "api/tokens.hpp"
#include "fake_images.hpp"
#include "unit/control/control_fixture.hpp"
#include "wick/api/api.hpp"

namespace wick {

struct ApiParts : ControlFixture {
  std::unique_ptr<store::Database> access_database = store::Database::open(":memory:", api::migrations()).value();
  std::unique_ptr<api::Tokens> tokens = api::Tokens::open(*access_database).value();
  FakeImages api_images;

  /// A new token's secret. Tokens are read once, when the API is made.
  std::string token(api::Scope scope, std::string name_space = {}) {
    api::Token wanted{.id = {},
                      .name = "ci",
                      .scope = scope,
                      .name_space = std::move(name_space),
                      .created = {},
                      .expires = {},
                      .hash = {}};
    return run_on(loop, tokens->create(std::move(wanted), clock.wall())).value().secret;
  }

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
