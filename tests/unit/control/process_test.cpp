#include "control/process.hpp"

#include <catch2/catch.hpp>

using namespace wick;
using namespace wick::control;

namespace {

const RevisionNames names{.service = "hello", .configuration = "hello", .revision = "hello-00001"};

image::ImageConfig sample_image() {
  image::ImageConfig image;
  image.entrypoint = {"/bin/server"};
  image.command = {"--from-cmd"};
  image.environment = {"PATH=/bin", "COLOR=red"};
  image.working_folder = "/app";
  image.user = "app:staff";
  return image;
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("command and args replace ENTRYPOINT and CMD by Kubernetes' table") {
  const auto [command, args, expected] = GENERATE(table<Words, Words, Words>({
      {{}, {}, {"/bin/server", "--from-cmd"}},
      {{}, {"-a"}, {"/bin/server", "-a"}},
      {{"/other"}, {}, {"/other"}},
      {{"/other"}, {"-a"}, {"/other", "-a"}},
      {{"/other"}, {"$(COLOR)", "$$(COLOR)", "$(NONE)", "$"}, {"/other", "red", "$(COLOR)", "$(NONE)", "$"}},
  }));
  model::Container container;
  container.command = command;
  container.args = args;
  CHECK(make_process(sample_image(), container, names).value().argv == expected);
}

TEST_CASE("the environment is the image's, then the contract's, then the template's") {
  model::Container container;
  container.port = 9000;
  container.environment = {{"COLOR", "blue"}, {"URL", "http://localhost:$(PORT)/$(COLOR)"}};
  const auto process = make_process(sample_image(), container, names).value();
  CHECK(process.environment == Words{"PATH=/bin", "COLOR=blue", "PORT=9000", "K_SERVICE=hello", "K_CONFIGURATION=hello",
                                     "K_REVISION=hello-00001", "URL=http://localhost:9000/blue"});
  CHECK(process.working_folder == "/app");
}

TEST_CASE("a container beside the one that serves has no PORT, an init container nothing of the contract") {
  model::Container container;
  CHECK(make_process(sample_image(), container, names, ContainerRole::beside).value().environment ==
        Words{"PATH=/bin", "COLOR=red", "K_SERVICE=hello", "K_CONFIGURATION=hello", "K_REVISION=hello-00001"});
  container.environment = {{"PORT", "8882"}};
  CHECK(make_process(sample_image(), container, names, ContainerRole::init).value().environment ==
        Words{"PATH=/bin", "COLOR=red", "PORT=8882"});
}

TEST_CASE("an image that names no program is refused with what to do") {
  const auto process = make_process({}, {}, names);
  REQUIRE_FALSE(process);
  CHECK(process.error().code() == Errc::invalid);
  CHECK_FALSE(process.error().hint().empty());
}

TEST_CASE("runAsUser and runAsGroup win over the image's user") {
  model::Container container;
  CHECK(user_of(sample_image(), container) == "app:staff");
  container.run_as_user = 2020;
  CHECK(user_of(sample_image(), container) == "2020");
  container.run_as_group = 7;
  CHECK(user_of(sample_image(), container) == "2020:7");
  container.run_as_user.reset();
  CHECK(user_of(sample_image(), container) == "app:7");
  CHECK(user_of({}, {}).empty());
}

TEST_CASE("limits and scaling come from the template, the rest from the defaults") {
  model::Container container;
  container.memory_limit = model::parse_quantity("128Mi").value();
  container.cpu_limit = model::parse_quantity("250m").value();
  CHECK(limits_of(container).memory_bytes == 128u << 20);
  CHECK(limits_of(container).cpu_millis == 250);
  CHECK(limits_of({}).memory_bytes == container::Limits{}.memory_bytes);
  model::Autoscaling autoscaling;
  autoscaling.target_utilization_percentage = 50;
  autoscaling.max_scale = 3;
  CHECK(scaling_of(autoscaling).utilization == 0.5);
  CHECK(scaling_of(autoscaling).max_scale == 3);
  CHECK(scaling_of(autoscaling).stable_window == 60s);
}
