module example.com/shop/server

go 1.18

require (
	github.com/gorilla/mux v1.8.0
)
