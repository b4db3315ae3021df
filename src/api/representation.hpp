// How an answer shows objects: whole, as rows of a Table, or as their metadata alone, as the Accept header asks
// (Kubernetes API concepts, "Resource representations").
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <span>
#include <string>
#include <string_view>

#include "wick/base/time.hpp"
#include "wick/model/resource.hpp"
#include "wick/store/objects.hpp"

namespace wick::api {

class Representation {
 public:
  enum class Form { whole, table, metadata };
  enum class Included { none, metadata, whole };  // what a row of a Table carries beside its cells

  /// From the Accept header and the includeObject parameter. The first form it names that we have wins.
  static Representation of(std::string_view accept, std::string_view include_object);

  Form form() const { return form_; }
  /// One object, as GET and writes answer it and as a watch event carries it.
  boost::json::value show(const model::Kind& kind, const boost::json::object& object, WallTime now) const;
  /// A list of nothing: `metadata` is the list's own. Its last member is the array of what it lists.
  boost::json::object empty_list(const model::Kind& kind, boost::json::object metadata) const;
  /// The JSON of a list, written object by object: one of thousands is never a tree in memory.
  std::string list_text(const model::Kind& kind, std::span<const store::ObjectValue> stored,
                        boost::json::object metadata, WallTime now) const;
  /// A Table says its columns once: the events after a watch's first have rows only.
  void columns_are_known() { with_columns_ = false; }

 private:
  boost::json::object table(const model::Kind& kind, boost::json::array rows, boost::json::object metadata) const;
  std::string item_text(const model::Kind& kind, const boost::json::object& object, WallTime now) const;
  boost::json::object row(const model::Kind& kind, const boost::json::object& object, WallTime now) const;

  Form form_ = Form::whole;
  Included included_ = Included::metadata;
  bool with_columns_ = true;
};

/// "5s", "3m10s", "2d4h": Kubernetes' short form of a time span.
std::string human_duration(std::chrono::seconds span);

}  // namespace wick::api
