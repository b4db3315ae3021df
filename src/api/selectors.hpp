// labelSelector and fieldSelector of list and watch (Kubernetes apimachinery pkg/labels, pkg/fields). Pure.
#pragma once

#include <boost/json/object.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::api {

struct Requirement {
  enum class Operator { in, not_in, exists, absent } op = Operator::exists;
  std::string key;
  std::set<std::string> values;
};

class Selector {
 public:
  /// "a=b,c!=d,e in (x,y),f notin (z),g,!h". Empty selects everything.
  static Result<std::vector<Requirement>> parse_labels(std::string_view text);
  /// metadata.name, metadata.namespace and what Kubernetes selects objects of `resource` by, with =, == and !=.
  static Result<std::vector<Requirement>> parse_fields(std::string_view text, std::string_view resource = {});
  static Result<Selector> parse(std::string_view labels, std::string_view fields, std::string_view resource = {});

  bool matches(const boost::json::object& object) const;
  bool by_labels() const { return !labels_.empty(); }

 private:
  std::vector<Requirement> labels_;
  std::vector<Requirement> fields_;
};

}  // namespace wick::api
