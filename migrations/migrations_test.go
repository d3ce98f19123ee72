package migrations_test

import (
	"database/sql"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/graf-run/graf/migrations"
)

func files(t *testing.T) []string {
	t.Helper()
	names, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("migrations: %v, %v", names, err)
	}
	return names
}

func TestUpTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	d := empty(t)
	d.pending(len(files(t)))
	if got := d.up(); !slices.Equal(got, files(t)) {
		t.Errorf("applied %v, want %v", got, files(t))
	}
	d.pending(0)
	first := d.schema()
	if got := d.up(); len(got) > 0 {
		t.Errorf("applied %v a second time", got)
	}
	same(t, d.schema(), first)
}

func (d *database) pending(want int) {
	d.t.Helper()
	got, err := migrations.Pending(d.context, d.url)
	if err != nil || got != want {
		d.t.Errorf("Pending = %d, %v; want %d", got, err, want)
	}
}

// Every replica of a deployment may run the command.
func TestUpAtOnceAppliesEachOnce(t *testing.T) {
	t.Parallel()
	d := empty(t)
	var wg sync.WaitGroup
	applied := make([][]string, 3)
	for i := range applied {
		wg.Go(func() {
			results, err := migrations.Up(d.context, d.url)
			if err != nil {
				t.Error(err)
			}
			for _, m := range results {
				applied[i] = append(applied[i], m.Source)
			}
		})
	}
	wg.Wait()
	if got := slices.Concat(applied...); !slices.Equal(got, files(t)) {
		t.Errorf("together they applied %v, want %v", applied, files(t))
	}
}

func TestDownTakesBackWhatUpMade(t *testing.T) {
	t.Parallel()
	d := empty(t)
	before := d.schema()
	var after [][]string // each migration
	provider := d.provider()
	for range files(t) {
		if _, err := provider.UpByOne(d.context); err != nil {
			t.Fatal(err)
		}
		after = append(after, d.schema())
	}
	for _, want := range slices.Backward(slices.Insert(slices.Clone(after[:len(after)-1]), 0, before)) {
		result, err := provider.Down(d.context)
		if err != nil {
			t.Fatal(err)
		}
		t.Log("took back ", result.Source.Path)
		same(t, d.schema(), want)
	}
	d.up()
	same(t, d.schema(), after[len(after)-1])
}

func (d *database) provider() *goose.Provider {
	d.t.Helper()
	db, err := sql.Open("pgx", d.url)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = db.Close() })
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS)
	if err != nil {
		d.t.Fatal(err)
	}
	return provider
}

// schema describes all that migrations may make, one object a line.
func (d *database) schema() []string {
	d.t.Helper()
	return list[string](d, `
		WITH own AS (
			SELECT oid, relname, relkind, relpersistence FROM pg_class
			WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'goose%'
		)
		SELECT * FROM (
			SELECT format('relation %s: kind %s, persistence %s', relname, relkind, relpersistence) AS line FROM own
			UNION ALL
			SELECT format('column %s.%s: %s, not null %s, identity %s, generated %s, default %s', relname, attname,
				format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, pg_get_expr(adbin, adrelid))
			FROM own JOIN pg_attribute ON attrelid = own.oid AND attnum > 0 AND NOT attisdropped
				LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
			WHERE relkind = 'r'
			UNION ALL
			SELECT format('index %s', pg_get_indexdef(oid)) FROM own WHERE relkind = 'i'
			UNION ALL
			SELECT format('constraint %s of %s: %s', conname, relname, pg_get_constraintdef(c.oid))
			FROM own JOIN pg_constraint c ON conrelid = own.oid
			UNION ALL
			SELECT format('trigger %s', pg_get_triggerdef(g.oid))
			FROM own JOIN pg_trigger g ON tgrelid = own.oid AND NOT tgisinternal
			UNION ALL
			SELECT format('function %s', pg_get_functiondef(p.oid)) FROM pg_proc p
			WHERE pronamespace = 'public'::regnamespace
				AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')
			UNION ALL
			SELECT format('extension %s', extname) FROM pg_extension
		) AS schema ORDER BY line COLLATE "C"`)
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("there is too much: %s", line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("there is missing: %s", line)
		}
	}
}
