// Asio's implementation, compiled once for the whole program (BOOST_ASIO_SEPARATE_COMPILATION): it costs every file
// that sees Asio 1.8 s otherwise.
#include <boost/asio/impl/src.hpp>
