module github.com/graf-run/graf/functions/callback

go 1.26.0

require github.com/graf-run/graf/shared v0.0.0
require github.com/graf-run/graf/migrations v0.0.0
require github.com/graf-run/graf/eventing v0.0.0

replace github.com/graf-run/graf/shared => ../../shared
replace github.com/graf-run/graf/migrations => ../../migrations
replace github.com/graf-run/graf/eventing => ../../eventing
