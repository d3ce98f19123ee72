package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/graf-run/graf/deploy/manifest"
)

// migrationTimeout bounds a migration, which on a large database may be long.
const migrationTimeout = 10 * time.Minute

// migrate runs the migration's Job and waits for it. Its name ends with a digest
// of its image; one that has ended is run again, for the database may be another
// by now, and there is nothing to do on one that is up to date.
func (d *deployment) migrate(ctx context.Context) error {
	job := manifest.Find(d.objects, kindJob, "graf-migrate")
	if job == nil {
		return errors.New("the overlay makes no Job graf-migrate: base it on deploy/base")
	}
	digest := sha256.Sum256([]byte(d.images[migrateProgram]))
	name := "graf-migrate-" + hex.EncodeToString(digest[:4])
	job.Set(name, "metadata", "name")
	if err := d.removeMigrations(ctx, name); err != nil {
		return err
	}
	if err := d.cluster.apply(ctx, []manifest.Object{job}); err != nil {
		return err
	}
	return d.waitForMigration(ctx, name)
}

// removeMigrations removes earlier Jobs but the one of this name that still runs.
func (d *deployment) removeMigrations(ctx context.Context, name string) error {
	earlier, err := d.cluster.list(ctx, "jobs", "--selector", "app.kubernetes.io/name=graf-migrate")
	if err != nil {
		return err
	}
	for _, job := range earlier {
		if _, running := outcome(job); running && job.Name() == name {
			continue
		}
		if _, err := d.cluster.kubectl(ctx, nil, "delete", "job", job.Name(), "--namespace", namespace, "--wait"); err != nil {
			return err
		}
	}
	return nil
}

func (d *deployment) waitForMigration(ctx context.Context, name string) error {
	return poll(ctx, migrationTimeout, func() (bool, error) {
		job, err := d.cluster.get(ctx, "job", name)
		if err != nil {
			return false, err
		}
		failure, running := outcome(job)
		if running {
			return false, d.cannotStart(ctx, "batch.kubernetes.io/job-name="+name)
		}
		if failure != "" {
			return false, d.migrationFailure(ctx, name, failure)
		}
		return true, nil
	}, func() error {
		return fmt.Errorf("the migration still runs after %s: see cluster/kubectl.sh logs --namespace %s job/%s; running make deploy again goes on waiting", migrationTimeout, namespace, name)
	})
}

// outcome tells whether a Job runs, and if not, how it failed; empty for not.
func outcome(job manifest.Object) (failure string, running bool) {
	if status, reason, message := condition(job, "Failed"); status == "True" {
		return strings.TrimSpace(reason + ": " + message), false
	}
	status, _, _ := condition(job, "Complete")
	return "", status != "True"
}

func (d *deployment) migrationFailure(ctx context.Context, name, failure string) error {
	log, err := d.cluster.kubectl(ctx, nil, "logs", "--namespace", namespace, "job/"+name, "--tail=20")
	if err != nil {
		log = []byte(err.Error())
	}
	text := strings.TrimSpace(string(log))
	mend := "mend what its log says and run make deploy again"
	for _, sign := range []string{"connect", "dial", "no such host", "timeout", "refused"} {
		if strings.Contains(strings.ToLower(text), sign) {
			mend = "the database cannot be reached from the cluster: check GRAF_DATABASE_DIRECT_URL in Secret graf-postgres, that Postgres runs, and NetworkPolicies"
			break
		}
	}
	return fmt.Errorf("the migration failed (%s); its log:\n%s\n%s", failure, indent(text), mend)
}

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }
