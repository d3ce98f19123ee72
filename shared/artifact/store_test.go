package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/graf-run/graf/shared/s3test"
)

func newConfig(bucket *s3test.Bucket) Config {
	return Config{
		Endpoint: bucket.Endpoint, Bucket: bucket.Name, Region: bucket.Region,
		AccessKeyID: bucket.AccessKeyID, SecretAccessKey: bucket.SecretAccessKey,
		MaxBytes: 10 << 20, UploadExpiry: time.Minute, DownloadExpiry: time.Minute,
	}
}

func newStore(t *testing.T) *Store {
	t.Helper()
	store, err := New(newConfig(s3test.New(t)))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func presign(t *testing.T, store *Store, key, content string) Upload {
	t.Helper()
	upload, err := store.PresignUpload(t.Context(), key, "text/plain", int64(len(content)), sumOf(content))
	if err != nil {
		t.Fatal(err)
	}
	return upload
}

// put does what an agent does, with changed headers where given, and returns the status.
func put(t *testing.T, upload Upload, content string, changed map[string]string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), upload.Method, upload.URL, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range upload.Headers {
		request.Header.Set(name, value)
	}
	for name, value := range changed {
		request.Header.Set(name, value)
		if value == "" {
			request.Header.Del(name)
		}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

func TestUploadVerifyDownload(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	for _, content := range []string{"what the agent made", "", strings.Repeat("0123456789", 200_000)} {
		key := Key("task", fmt.Sprint(len(content)))
		if err := store.Verify(t.Context(), key, int64(len(content)), sumOf(content)); !errors.Is(err, ErrMissing) {
			t.Errorf("before the upload: %v, want ErrMissing", err)
		}
		upload := presign(t, store, key, content)
		if status := put(t, upload, content, nil); status != http.StatusOK {
			t.Fatalf("upload of %d bytes: status %d", len(content), status)
		}
		if err := store.Verify(t.Context(), key, int64(len(content)), sumOf(content)); err != nil {
			t.Error(err)
		}
		if err := store.Verify(t.Context(), key, int64(len(content))+1, sumOf(content)); !errors.Is(err, ErrSizeMismatch) {
			t.Errorf("another size: %v", err)
		}
		if err := store.Verify(t.Context(), key, int64(len(content)), sumOf("x")); !errors.Is(err, ErrDigestMismatch) {
			t.Errorf("another digest: %v", err)
		}
		wantDownload(t, store, key, content)
	}
}

func wantDownload(t *testing.T, store *Store, key, content string) {
	t.Helper()
	const name = `Überblick "1"; x.txt`
	download, err := store.PresignDownload(t.Context(), key, name)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, download.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || string(body) != content {
		t.Errorf("download: status %d, %d bytes, %v", response.StatusCode, len(body), err)
	}
	disposition, parameters, err := mime.ParseMediaType(response.Header.Get("Content-Disposition"))
	if err != nil || disposition != "attachment" || parameters["filename"] != name {
		t.Errorf("Content-Disposition %q", response.Header.Get("Content-Disposition"))
	}
}

// The store itself refuses what does not fit the signature or the checksum.
func TestStoreRefusesOtherUploads(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	const content = "announced"
	for name, test := range map[string]struct {
		content string
		changed map[string]string
	}{
		"other bytes":        {content: "ANNOUNCED"},
		"longer":             {content: content + "!"},
		"shorter":            {content: content[1:]},
		"other type":         {content: content, changed: map[string]string{"Content-Type": "text/html"}},
		"other checksum":     {content: content, changed: map[string]string{"X-Amz-Checksum-Sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}},
		"no checksum header": {content: content, changed: map[string]string{"X-Amz-Checksum-Sha256": ""}},
	} {
		key := Key("task", strings.ReplaceAll(name, " ", "-"))
		if status := put(t, presign(t, store, key, content), test.content, test.changed); status < 400 || status > 499 {
			t.Errorf("%s: status %d", name, status)
		}
		if err := store.Verify(t.Context(), key, int64(len(content)), sumOf(content)); !errors.Is(err, ErrMissing) {
			t.Errorf("%s: Verify() = %v, want ErrMissing", name, err)
		}
	}
	tampered := presign(t, store, Key("task", "one"), content)
	tampered.URL = strings.Replace(tampered.URL, "artifacts/one", "artifacts/two", 1)
	if status := put(t, tampered, content, nil); status != http.StatusForbidden {
		t.Errorf("a URL for another key: status %d", status)
	}
}

// Objects that came without a checksum, or in parts, are read.
func TestVerifyWithoutTheStoresChecksum(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	content := strings.Repeat("part of a large object ", 300_000)
	for name, options := range map[string]minio.PutObjectOptions{
		"no checksum": {DisableMultipart: true, DisableContentSha256: true},
		"in parts":    {PartSize: 5 << 20, AutoChecksum: minio.ChecksumSHA256},
	} {
		key := Key("task", strings.ReplaceAll(name, " ", "-"))
		_, err := store.client.PutObject(t.Context(), store.config.Bucket, key, strings.NewReader(content), int64(len(content)), options)
		if err != nil {
			t.Fatal(name, err)
		}
		if err := store.Verify(t.Context(), key, int64(len(content)), sumOf(content)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := store.Verify(t.Context(), key, int64(len(content)), sumOf("x")); !errors.Is(err, ErrDigestMismatch) {
			t.Errorf("%s, another digest: %v", name, err)
		}
		// What Verify does when the store has no checksum, whatever this one has.
		for size, want := range map[int64]error{int64(len(content)): nil, int64(len(content)) - 1: ErrSizeMismatch, int64(len(content)) + 1: ErrSizeMismatch} {
			if err := store.verifyBytes(t.Context(), key, size, sumOf(content), ""); !errors.Is(err, want) {
				t.Errorf("%s: read to check %d bytes: %v, want %v", name, size, err, want)
			}
		}
		if err := store.verifyBytes(t.Context(), key, int64(len(content)), sumOf(content), "another-etag"); err == nil {
			t.Errorf("%s: an object that was replaced meanwhile is taken", name)
		}
	}
}

func TestPublicEndpointIsSignedFor(t *testing.T) {
	t.Parallel()
	config := newConfig(&s3test.Bucket{
		Name: "graf", Endpoint: "http://127.0.0.1:1", Region: "us-east-1", AccessKeyID: "id", SecretAccessKey: "hidden",
	})
	config.PublicEndpoint = "https://files.example.com"
	store, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	upload := presign(t, store, Key("t", "a"), "x")
	download, err := store.PresignDownload(t.Context(), Key("t", "a"), "a.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, signed := range []string{upload.URL, download.URL} {
		parsed, err := url.Parse(signed)
		if err != nil || parsed.Scheme != "https" || parsed.Host != "files.example.com" || parsed.Path != "/graf/tasks/t/artifacts/a" {
			t.Errorf("signed %s, %v", signed, err)
		}
	}
	if left := time.Until(upload.ExpiresAt); left <= 0 || left > time.Minute {
		t.Errorf("the upload expires in %v", left)
	}
}

func TestEnsureBucket(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	if err := store.EnsureBucket(t.Context()); err != nil {
		t.Errorf("a bucket that is there: %v", err)
	}
	if err := store.client.RemoveBucket(t.Context(), store.config.Bucket); err != nil {
		t.Fatal(err)
	}
	if err := store.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exists, err := store.client.BucketExists(t.Context(), store.config.Bucket); err != nil || !exists {
		t.Errorf("not made: %v", err)
	}
}

func TestRefusedAnnouncements(t *testing.T) {
	t.Parallel()
	store, err := New(newConfig(&s3test.Bucket{
		Name: "graf", Endpoint: "http://127.0.0.1:1", Region: "us-east-1", AccessKeyID: "id", SecretAccessKey: "hidden",
	}))
	if err != nil {
		t.Fatal(err)
	}
	sum := sumOf("x")
	for name, call := range map[string]func() error{
		"type":     func() error { _, err := store.PresignUpload(t.Context(), "k", "text", 1, sum); return err },
		"size":     func() error { _, err := store.PresignUpload(t.Context(), "k", "a/b", 10<<20+1, sum); return err },
		"negative": func() error { _, err := store.PresignUpload(t.Context(), "k", "a/b", -1, sum); return err },
		"digest":   func() error { _, err := store.PresignUpload(t.Context(), "k", "a/b", 1, "no"); return err },
		"key":      func() error { _, err := store.PresignUpload(t.Context(), "", "a/b", 1, sum); return err },
		"name":     func() error { _, err := store.PresignDownload(t.Context(), "k", "../a"); return err },
		"verify":   func() error { return store.Verify(t.Context(), "k", 1, "no") },
	} {
		if call() == nil {
			t.Errorf("a bad %s is taken", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := store.Verify(ctx, "k", 1, sum); err == nil || errors.Is(err, ErrMissing) {
		t.Errorf("a store that is down: %v", err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := newConfig(&s3test.Bucket{
		Name: "graf", Endpoint: "http://127.0.0.1:1", Region: "us-east-1", AccessKeyID: "id", SecretAccessKey: "hidden",
	})
	for name, spoil := range map[string]func(*Config){
		"no endpoint":     func(c *Config) { c.Endpoint = "" },
		"no scheme":       func(c *Config) { c.Endpoint = "localhost:9000" },
		"a path":          func(c *Config) { c.Endpoint = "http://a/b" },
		"a password":      func(c *Config) { c.Endpoint = "http://a:hidden@b" },
		"public endpoint": func(c *Config) { c.PublicEndpoint = "files" },
		"bucket":          func(c *Config) { c.Bucket = "" },
		"key":             func(c *Config) { c.SecretAccessKey = "" },
		"size":            func(c *Config) { c.MaxBytes = 6 << 30 },
		"expiry":          func(c *Config) { c.UploadExpiry = 0 },
		"long expiry":     func(c *Config) { c.DownloadExpiry = 169 * time.Hour },
	} {
		config := good
		spoil(&config)
		if _, err := New(config); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("starting", "config", good)
	if strings.Contains(log.String(), "hidden") || !strings.Contains(log.String(), "127.0.0.1") {
		t.Errorf("logged: %s", log.String())
	}
}
