module github.com/graf-run/graf/eventing

go 1.26.0


