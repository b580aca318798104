"""Several labels per recording: the folds of PTB-XL, persons never on both sides, macro ROC-AUC."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from anyjepa.data.ecg import EcgConfig, open_ecg
from anyjepa.errors import DataError
from anyjepa.evaluation.label_sets import person_split, probe_label_sets

STATEMENTS = """,description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass
NORM,normal,1.0,,,NORM,NORM
IMI,inferior infarction,1.0,,,MI,IMI
ASMI,anteroseptal infarction,1.0,,,MI,AMI
LVH,hypertrophy,1.0,,,HYP,LVH
NDT,T changes,1.0,1.0,,STTC,STTC
SR,sinus rhythm,,,1.0,,
AFIB,fibrillation,,,1.0,,
"""


def ptbxl(folder, n=200, t=100):
    """A synthetic PTB-XL: the amplitude of lead II tells an infarction, that of V1 a hypertrophy."""
    draw = np.random.default_rng(0)
    (folder / "records500").mkdir()
    rows = ["ecg_id,patient_id,scp_codes,strat_fold,filename_lr,filename_hr"]
    for i in range(n):
        fold = i % 10 + 1
        # fold and patient belong together, as in PTB-XL
        patient = 1000 * fold + draw.integers(8)
        mi, lvh = draw.random(2) < 0.4
        codes = {"IMI" if draw.random() < 0.5 else "ASMI": 80.0} if mi else {}
        codes |= {"LVH": 0.0} if lvh else {}
        codes = codes or {"NORM": 100.0}
        codes["SR" if draw.random() < 0.9 else "AFIB"] = 0.0
        signal = draw.normal(size=(12, t))
        signal[1] *= 3 if mi else 1
        signal[6] *= 3 if lvh else 1
        (1000 * signal.T).round().astype("<i2").tofile(folder / f"records500/{i}.dat")
        leads = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
        lines = [f"{i} 12 500 {t}", *[f"{i}.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in leads]]
        (folder / f"records500/{i}.hea").write_text("\n".join(lines) + "\n")
        rows.append(f'{i},{float(patient)},"{codes}",{fold},records100/{i},records500/{i}')
    (folder / "ptbxl_database.csv").write_text("\n".join(rows) + "\n")
    (folder / "scp_statements.csv").write_text(STATEMENTS)
    return folder


def test_the_protocol_of_ptbxl(tmp_path):
    pytest.importorskip("wfdb", reason="the reader of WFDB records: anyjepa[ecg]")
    folder = ptbxl(tmp_path)
    for task, count in {"all": 6, "diagnostic": 4, "superdiagnostic": 3, "rhythm": 2}.items():
        records = open_ecg(folder, EcgConfig(task=task))
        assert len(records.label_names) == count
        split = person_split(records.groups, records.folds)
        assert split.source == "folds 1 to 8, 9 and 10"
        assert [len(part) for part in (split.train, split.valid, split.test)] == [160, 20, 20]
        assert (records.folds[split.train] <= 8).all() and (records.folds[split.test] == 10).all()
        if task == "superdiagnostic":
            assert records.label_names == ("HYP", "MI", "NORM")
            spread = np.stack([records.read(i).std(dim=1).log().numpy() for i in range(len(records))])
            found = probe_label_sets(spread, records.labels, records.label_names, split)
            assert found.auc.mean > 0.98 and found.scores.shape == (20, 3)
            assert "3 labels (folds 1 to 8, 9 and 10: 160 / 20 / 20)" in str(found)


def several(n=240, seed=0):
    """Three labels that a line tells from the first features, and one that nothing tells."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 6)).astype(np.float32)
    labels = np.stack(
        [x[:, 0] > 0, x[:, 1] + x[:, 2] > 0.5, x[:, 0] - x[:, 3] > 0, draw.random(n) < 0.5], axis=1
    )
    return x, labels, draw.integers(60, size=n)


def test_persons_without_folds_are_kept_apart():
    x, labels, persons = several()
    split = person_split(persons, np.full(len(persons), -1), seed=1)
    parts = [set(persons[part].tolist()) for part in (split.train, split.valid, split.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(np.unique(persons))
    assert not np.array_equal(split.test, person_split(persons, seed=2).test)
    found = probe_label_sets(x, labels, "abcd", split)
    assert min(found.auc.per_class[:3]) > 0.97 and found.auc.per_class[3] < 0.75


def test_scores_are_those_of_one_regression_per_label():
    x, labels, persons = several()
    split = person_split(persons)
    found = probe_label_sets(x, labels, "abcd", split)
    mean, std = x[split.train].mean(0), x[split.train].std(0)
    for k in range(4):
        model = LogisticRegression(C=1 / (found.strength * len(split.train)), tol=1e-8, max_iter=1000)
        model.fit((x[split.train] - mean) / std, labels[split.train, k])
        wanted = model.decision_function((x[split.test] - mean) / std)
        np.testing.assert_allclose(found.scores[:, k], wanted, atol=0.02)


def test_a_label_that_cannot_be_learned_or_scored_is_left_out():
    x, labels, persons = several()
    split = person_split(persons)
    labels[split.train, 3] = False
    labels[split.test, 2] = True
    found = probe_label_sets(x, labels, "abcd", split)
    assert found.auc.left_out == (2, 3) and "without c, d" in str(found)
    with pytest.raises(DataError, match="none of the 4 labels"):
        probe_label_sets(x, np.zeros_like(labels), "abcd", split)


def test_a_person_in_two_folds_is_refused():
    persons, folds = np.arange(30), np.arange(30) % 10 + 1
    assert person_split(persons, folds).source.startswith("folds")
    persons[9] = persons[0]
    with pytest.raises(DataError, match="1 persons are in two parts"):
        person_split(persons, folds)
    with pytest.raises(DataError, match="no samples for test among 3 of 2 persons"):
        person_split(np.array([0, 0, 1]))
