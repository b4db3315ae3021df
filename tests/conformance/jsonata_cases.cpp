// Reads lines of {"expr": …, "input": …} and answers each with {"result": …}, {"none": true} or {"error": CODE}; and
// with "us", how long one evaluation takes from text to text, when asked to measure.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <iostream>
#include <string>

#include "wick/eventing/transform.hpp"

namespace json = boost::json;
using wick::eventing::Transform;

namespace {

double microseconds_of(const Transform& transform, const std::string& input) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  int count = 0;
  while (Clock::now() - start < std::chrono::milliseconds(300)) {
    (void)transform.apply(input);
    ++count;
  }
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count() / count;
}

std::string answer_to(const std::string& expression, const std::string& input, bool measured) {
  const auto transform = Transform::parse(expression);
  const auto refused = [](const wick::Error& error) { return "{\"error\": \"" + error.message().substr(0, 5) + "\"}"; };
  if (!transform) return refused(transform.error());
  const auto result = transform->apply(input);
  if (!result) return refused(result.error());
  // As it is: numbers are compared as they are written.
  auto answer = *result ? "{\"result\": " + **result : std::string("{\"none\": true");
  if (measured) answer += ", \"us\": " + std::to_string(microseconds_of(*transform, input));
  return answer + "}";
}

}  // namespace

int main(int count, char**) {
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto asked = json::parse(line);
    const auto answer =
        answer_to(std::string(asked.at("expr").as_string()), json::serialize(asked.at("input")), count > 1);
    std::cout << answer << "\n" << std::flush;
  }
}
