// The words of Asio that the rooms share. One io_context runs on one thread and owns all live state; see STYLE.md,
// Coroutines.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace wick {

namespace asio = boost::asio;
using asio::awaitable;
using asio::use_awaitable;
using Executor = asio::any_io_executor;

}  // namespace wick
