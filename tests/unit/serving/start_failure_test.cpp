#include "wick/serving/start_failure.hpp"

#include <catch2/catch.hpp>

using namespace wick;
using namespace wick::serving;

TEST_CASE("a start that one of several containers ended is told with that container's name") {
  RevisionSpec spec;
  container::Exit exit{.status = {.code = 7}};
  CHECK(ended_early(exit, {}, spec, 120ms).because ==
        "the process exited with code 7 after 120 ms, before listening on port 8080");
  CHECK(ended_early(exit, {}, spec, 120ms).container.empty());
  exit.companion = "side";
  CHECK(ended_early(exit, {}, spec, 120ms).because ==
        "the container \"side\" exited with code 7 after 120 ms, again and again, before the instance was ready");
  exit.companion = "setup";
  exit.of_init = true;
  const auto failure = ended_early(exit, {}, spec, 120ms);
  CHECK(failure.because ==
        "the init container \"setup\" exited with code 7 after 120 ms, before the others were started");
  CHECK(failure.container == "setup");
  CHECK(failure.exit_code == 7);
  exit.out_of_memory = true;
  CHECK(
      ended_early(exit, {}, spec, 120ms).because ==
      "the init container \"setup\" was killed (signal 9), out of memory after 120 ms, before the others were started");
}

TEST_CASE("a container that could not start is told with the runtime's reason") {
  container::Exit exit{.status = {.code = 128},
                       .companion = "side",
                       .not_started = Error(Errc::not_found, "the command '/nope' is not in the image")};
  const auto failure = ended_early(exit, {}, {}, 5ms);
  CHECK(failure.because == "the container \"side\": the command '/nope' is not in the image");
  CHECK(failure.slug == "E_NOT_FOUND");
  CHECK(failure.container == "side");
  CHECK(ended_while_serving(exit, {}, {}, 5ms).because == failure.because);
}
