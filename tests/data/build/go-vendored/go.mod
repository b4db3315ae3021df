module example.com/x

go 1.17

require golang.org/x/text v0.3.0
