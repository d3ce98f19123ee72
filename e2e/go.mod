module github.com/graf-run/graf/e2e

go 1.26.0

require (
	github.com/google/uuid v1.6.0
	github.com/graf-run/graf/eventing v0.0.0
	github.com/graf-run/graf/shared v0.0.0
	github.com/jackc/pgx/v5 v5.12.0
	github.com/redis/go-redis/v9 v9.23.0
	k8s.io/apimachinery v0.33.5
	k8s.io/client-go v0.33.5
	knative.dev/func-go v0.21.3
)

replace (
	github.com/graf-run/graf/eventing => ../eventing
	github.com/graf-run/graf/migrations => ../migrations
	github.com/graf-run/graf/shared => ../shared
)
