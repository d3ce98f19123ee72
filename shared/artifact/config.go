package artifact

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"
)

// Config says where objects are kept.
type Config struct {
	// Endpoint is the URL by which Graf reaches the store: scheme, host and port.
	Endpoint string `env:"GRAF_S3_ENDPOINT,required"`
	// PublicEndpoint is the URL by which agents and people reach it, when that is another.
	PublicEndpoint  string `env:"GRAF_S3_PUBLIC_ENDPOINT"`
	Bucket          string `env:"GRAF_S3_BUCKET" envDefault:"graf"`
	Region          string `env:"GRAF_S3_REGION" envDefault:"us-east-1"`
	AccessKeyID     string `env:"GRAF_S3_ACCESS_KEY_ID,required"`
	SecretAccessKey string `env:"GRAF_S3_SECRET_ACCESS_KEY,required"`
	// MaxBytes bounds one artifact, in one piece or in parts. S3 takes at most 5 GiB in one piece.
	MaxBytes int64 `env:"GRAF_ARTIFACT_MAX_BYTES" envDefault:"1073741824"`
	// UploadExpiry and DownloadExpiry are how long presigned URLs work.
	UploadExpiry   time.Duration `env:"GRAF_ARTIFACT_UPLOAD_EXPIRY" envDefault:"15m"`
	DownloadExpiry time.Duration `env:"GRAF_ARTIFACT_DOWNLOAD_EXPIRY" envDefault:"15m"`
}

// LogValue leaves out the keys.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("endpoint", c.Endpoint), slog.String("publicEndpoint", c.PublicEndpoint),
		slog.String("bucket", c.Bucket), slog.String("region", c.Region))
}

// maxPut is the most that S3 takes in one upload.
const maxPut = 5 << 30

// maxExpiry is the longest that S3 lets a presigned URL work.
const maxExpiry = 7 * 24 * time.Hour

// Validate tells what is wrong with the configuration, or nil. It never shows the keys.
func (c Config) Validate() error {
	if err := checkEndpoint("GRAF_S3_ENDPOINT", c.Endpoint); err != nil {
		return err
	}
	if c.PublicEndpoint != "" {
		if err := checkEndpoint("GRAF_S3_PUBLIC_ENDPOINT", c.PublicEndpoint); err != nil {
			return err
		}
	}
	if c.Bucket == "" || c.Region == "" {
		return errors.New("GRAF_S3_BUCKET and GRAF_S3_REGION must not be empty")
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return errors.New("GRAF_S3_ACCESS_KEY_ID and GRAF_S3_SECRET_ACCESS_KEY must not be empty")
	}
	if c.MaxBytes < 1 || c.MaxBytes > maxPut {
		return fmt.Errorf("GRAF_ARTIFACT_MAX_BYTES is %d: give 1 to %d (5 GiB)", c.MaxBytes, int64(maxPut))
	}
	for name, expiry := range map[string]time.Duration{
		"GRAF_ARTIFACT_UPLOAD_EXPIRY": c.UploadExpiry, "GRAF_ARTIFACT_DOWNLOAD_EXPIRY": c.DownloadExpiry,
	} {
		if expiry < time.Second || expiry > maxExpiry {
			return fmt.Errorf("%s is %v: give 1s to 168h", name, expiry)
		}
	}
	return nil
}

func checkEndpoint(setting, endpoint string) error {
	parsed, err := url.Parse(endpoint)
	// The URL is not shown, as it may hold a password.
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return fmt.Errorf("%s must be a URL such as http://127.0.0.1:9000", setting)
	}
	if parsed.User != nil || parsed.RawQuery != "" || parsed.Path != "" && parsed.Path != "/" {
		return fmt.Errorf("%s must have a scheme, a host and a port only", setting)
	}
	return nil
}
