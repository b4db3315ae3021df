// CESQL 1.0.0 (cloudevents/spec cesql/spec.md): an expression over the attributes of one event.
//
// Parsed once, evaluated often. Where the grammar and the prose differ (AND, OR and XOR are one level, right
// associative) the grammar wins, as in the reference implementation. One case of the project's test kit contradicts
// the spec ("NOT 10" as a cast error): here every Integer casts to Boolean, and NOT 10 is false.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"
#include "wick/eventing/cloud_event.hpp"

namespace wick::eventing::cesql {

enum class Fault { none, math, cast, missing_attribute, missing_function, function_evaluation };

/// A value is there whatever went wrong: the zero of its type, as the spec says.
struct Outcome {
  AttributeValue value;
  Fault fault = Fault::none;
  std::string detail;  // of the fault: "there is no attribute 'x'"
};

struct Node;

class Expression {
 public:
  static constexpr std::size_t bytes_max = 16 * 1024;
  static constexpr int depth_max = 300;

  /// Errors: invalid, with the place (1 is the first character).
  static Result<Expression> parse(std::string_view text);

  Outcome evaluate(const CloudEvent& event) const;
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  std::shared_ptr<const Node> root_;
};

}  // namespace wick::eventing::cesql
