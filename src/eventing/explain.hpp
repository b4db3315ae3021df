// What became of an event, for people: from the log, the rows, the triggers' filters and the journal.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "dispatcher.hpp"

namespace wick::eventing {

/// Errors: not_found.
awaitable<Result<boost::json::object>> explain(Log& log, Dispatcher& dispatcher, Journal& journal,
                                               std::string name_space, std::string event_id);
awaitable<boost::json::array> list_events(Log& log, std::string broker, Position after, std::size_t count);
boost::json::array list_dead_letters(Log& log, const std::string& name_space, std::size_t count);

}  // namespace wick::eventing
