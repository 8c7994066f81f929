"""tasks/runtime"""
