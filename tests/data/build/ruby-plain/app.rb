require 'socket'
