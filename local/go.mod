module github.com/graf-run/graf/local

go 1.26.0

require github.com/graf-run/graf/shared v0.0.0

require github.com/graf-run/graf/migrations v0.0.0

require github.com/graf-run/graf/eventing v0.0.0

require github.com/graf-run/graf/functions/submit v0.0.0

require github.com/graf-run/graf/functions/callback v0.0.0

require github.com/graf-run/graf/functions/memory v0.0.0

require github.com/graf-run/graf/functions/embed v0.0.0

require github.com/graf-run/graf/functions/launch v0.0.0

require github.com/graf-run/graf/functions/finalize v0.0.0

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/chewxy/math32 v1.10.1 // indirect
	github.com/cloudevents/sdk-go/v2 v2.16.2 // indirect
	github.com/dustin/go-humanize v1.0.1 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/pgx/v5 v5.12.0 // indirect
	github.com/json-iterator/go v1.1.12 // indirect
	github.com/klauspost/compress v1.19.2 // indirect
	github.com/klauspost/cpuid/v2 v2.4.0 // indirect
	github.com/klauspost/crc32 v1.3.0 // indirect
	github.com/minio/crc64nvme v1.1.1 // indirect
	github.com/minio/md5-simd v1.1.2 // indirect
	github.com/minio/minio-go/v7 v7.4.1 // indirect
	github.com/modern-go/concurrent v0.0.0-20180306012644-bacd9c7ef1dd // indirect
	github.com/modern-go/reflect2 v1.0.2 // indirect
	github.com/philhofer/fwd v1.2.0 // indirect
	github.com/redis/go-redis/v9 v9.23.0 // indirect
	github.com/robfig/cron/v3 v3.0.1 // indirect
	github.com/rs/xid v1.6.0 // indirect
	github.com/spf13/cobra v1.10.2 // indirect
	github.com/spf13/pflag v1.0.10 // indirect
	github.com/tinylib/msgp v1.6.4 // indirect
	github.com/viterin/partial v1.1.0 // indirect
	github.com/viterin/vek v0.4.3 // indirect
	github.com/zeebo/xxh3 v1.1.0 // indirect
	go.etcd.io/bbolt v1.5.0 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	go.uber.org/zap v1.27.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.57.0 // indirect
	golang.org/x/exp v0.0.0-20230817173708-d852ddb80c63 // indirect
	golang.org/x/net v0.60.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	gopkg.in/ini.v1 v1.67.3 // indirect
	k8s.io/api v0.33.5 // indirect
	k8s.io/client-go v0.33.5 // indirect
	knative.dev/eventing v0.47.0 // indirect
)

replace github.com/graf-run/graf/shared => ../shared

replace github.com/graf-run/graf/migrations => ../migrations

replace github.com/graf-run/graf/eventing => ../eventing

replace github.com/graf-run/graf/functions/submit => ../functions/submit

replace github.com/graf-run/graf/functions/callback => ../functions/callback

replace github.com/graf-run/graf/functions/memory => ../functions/memory

replace github.com/graf-run/graf/functions/embed => ../functions/embed

replace github.com/graf-run/graf/functions/launch => ../functions/launch

replace github.com/graf-run/graf/functions/finalize => ../functions/finalize
