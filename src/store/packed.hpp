// JSON that is kept for long, in one block of memory: what a parser builds of it takes an allocation a string and a
// table, with room to grow, and three times as much.
#pragma once

#include <boost/json/object.hpp>
#include <memory>

namespace wick::store {

/// An equal object in a block of just its size. Copies of it, whole or in parts, keep the block, and take what they
/// need from the heap; as with any object, threads may copy it side by side.
std::shared_ptr<const boost::json::object> packed(const boost::json::object& object);

}  // namespace wick::store
