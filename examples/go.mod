module github.com/graf-run/graf/examples

go 1.26.0


