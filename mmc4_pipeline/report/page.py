from mmc4_pipeline.dataset.stage_folder import StageFolder


def write_report(folder: StageFolder) -> str:
    return ""
