package template

import (
	"time"
	_ "time/tzdata" // so that time zones are the same on all machines
)

// dates are the functions that would ask for the time, or for the time zone of
// the machine: it is UTC.
func (r *run) dates() map[string]any {
	date := func(layout string, t any) (string, error) { return r.date(layout, t, "UTC") }
	toDate := func(layout, s string) (time.Time, error) {
		t, err := time.ParseInLocation(layout, s, time.UTC)
		if err != nil {
			return time.Time{}, refusal("its argument is not a date of this layout")
		}
		return t, nil
	}
	return map[string]any{
		"now":  r.now,
		"date": date, "dateInZone": r.date, "date_in_zone": r.date,
		"htmlDate":       func(t any) (string, error) { return date(time.DateOnly, t) },
		"htmlDateInZone": func(t any, zone string) (string, error) { return r.date(time.DateOnly, t, zone) },
		"ago":            r.ago, "durationRound": r.durationRound,
		"toDate": func(layout, s string) time.Time {
			t, _ := toDate(layout, s)
			return t
		},
		"mustToDate": toDate,
	}
}

func (r *run) now() (time.Time, error) {
	if r.options.Now.IsZero() {
		return time.Time{}, refusal("there is no time here: it needs refreshPolicy Periodic with a refreshInterval, or CreatedOnce")
	}
	return r.options.Now.UTC(), nil
}

func (r *run) date(layout string, t any, zone string) (string, error) {
	when, err := r.when(t)
	if err != nil {
		return "", err
	}
	location, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		location = time.UTC
	}
	return when.In(location).Format(layout), nil
}

func (r *run) ago(t any) (string, error) {
	when, err := r.when(t)
	if err != nil {
		return "", err
	}
	now, err := r.now()
	return now.Sub(when).Round(time.Second).String(), err
}

func (r *run) durationRound(d any) (string, error) {
	if t, ok := d.(time.Time); ok {
		now, err := r.now()
		if err != nil {
			return "", err
		}
		d = int64(now.Sub(t))
	}
	return sprigCall[string]("durationRound", d)
}

// when is the time that t stands for: a time, or seconds since 1970. Anything
// else is now.
func (r *run) when(t any) (time.Time, error) {
	switch t := t.(type) {
	case time.Time:
		return t, nil
	case *time.Time:
		return *t, nil
	case int64:
		return time.Unix(t, 0), nil
	case int:
		return time.Unix(int64(t), 0), nil
	case int32:
		return time.Unix(int64(t), 0), nil
	}
	return r.now()
}
