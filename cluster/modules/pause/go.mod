module github.com/graf-run/graf/cluster/modules/pause

go 1.26.0
